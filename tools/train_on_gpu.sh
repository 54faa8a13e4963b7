#!/usr/bin/env bash
# The released networks from the ones before them, on one GPU in a given time:
#
#     tools/train_on_gpu.sh LM/models PHOTOS OUT [MINUTES [NETWORK ...]]
#
# NETWORK is accurate, fast, detector, or cross (colours and depth, not released); without any, the first three.
# They train beside each other for all of the time. Nothing is read but the models, the photographs and what is
# in this repository; some 16 processors keep the GPU busy. Then, here or elsewhere:
#
#     heatpose export OUT/accurate --detector OUT/detector --int8 --image-size 448 --image-size 640 --threshold 0.2 --out lmo.heatpose
#     heatpose export OUT/fast --int8-keypoints --out fast.heatpose
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: $0 MODELS PHOTOS OUT [MINUTES [NETWORK ...]]" >&2
  exit 2
fi
models=$1 photos=$2 out=$3 minutes=${4:-28}
if [ $# -gt 4 ]; then networks=("${@:5}"); else networks=(accurate detector fast); fi
drawn=(--objects "$models" --backgrounds "$photos" --on-device --workers 0 --samples 100000000 --harsh 0.4
  --minutes "$minutes" --echo 3)
posed=(--init demo/lmo.heatpose --batch-size 512 --epoch-samples 102400 --pose-weight 0.2 --hidden 0.7 --frozen)

train() {
  case $1 in
  accurate)
    heatpose train keypoints "${drawn[@]}" "${posed[@]}" --crop-size 192 --upright 0.75 --learning-rate 1.7e-3 \
      --seed 201 --out "$out/accurate"
    ;;
  fast)
    heatpose train keypoints "${drawn[@]}" "${posed[@]}" --stages 3 --crop-size 160 --upright 0.75 \
      --learning-rate 1.7e-3 --seed 203 --out "$out/fast"
    ;;
  detector)
    heatpose train detector "${drawn[@]}" --init weights/yolov10n_lm.safetensors --size n --image-size 448 \
      --batch-size 64 --learning-rate 1e-3 --epoch-samples 19200 --seed 202 --out "$out/detector"
    ;;
  cross)
    heatpose train keypoints "${drawn[@]}" "${posed[@]}" --depth cross --crop-size 192 --upright 0.5 \
      --learning-rate 1.2e-3 --seed 204 --out "$out/cross"
    ;;
  *)
    echo "there is no network '$1': accurate, fast, detector, cross" >&2
    return 2
    ;;
  esac
}

mkdir -p "$out"
failed=0
declare -A running
for network in "${networks[@]}"; do
  train "$network" >"$out/$network.log" 2>&1 &
  running[$network]=$!
done
for network in "${networks[@]}"; do
  wait "${running[$network]}" || { echo "$0: $network failed, see $out/$network.log" >&2; failed=1; }
done
exit $failed
