#!/usr/bin/env bash
# The released networks from the one before them, on one GPU in a given time:
#
#     tools/train_on_gpu.sh LM/models PHOTOS OUT [MINUTES]
#
# The accurate keypoint network trains all the time; beside it the detector for three fifths of it, and then
# the fast network for a quarter. Nothing is read but the models, the photographs and what is in this
# repository; some 16 processors keep the GPU busy. Then, here or elsewhere:
#
#     heatpose export OUT/accurate --detector OUT/detector --int8 --image-size 448 --image-size 640 --threshold 0.2 --out lmo.heatpose
#     heatpose export OUT/fast --int8-keypoints --out fast.heatpose
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: $0 MODELS PHOTOS OUT [MINUTES]" >&2
  exit 2
fi
models=$1 photos=$2 out=$3 minutes=${4:-28}
share() { awk "BEGIN { print $minutes * $1 }"; }
drawn=(--objects "$models" --backgrounds "$photos" --on-device --workers 0 --samples 100000000 --harsh 0.4)
posed=(--init demo/lmo.heatpose --batch-size 512 --learning-rate 1.7e-3 --epoch-samples 102400 --pose-weight 0.2
  --upright 0.75 --hidden 0.7 --frozen)
mkdir -p "$out"

heatpose train keypoints "${drawn[@]}" "${posed[@]}" --crop-size 192 --minutes "$minutes" --seed 101 \
  --out "$out/accurate" >"$out/accurate.log" 2>&1 &
accurate=$!
(
  heatpose train detector "${drawn[@]}" --init weights/yolov10n_lm.safetensors --size n --image-size 448 \
    --batch-size 64 --learning-rate 1e-3 --epoch-samples 19200 --minutes "$(share 0.6)" --seed 102 --out "$out/detector"
  heatpose train keypoints "${drawn[@]}" "${posed[@]}" --stages 3 --crop-size 160 --minutes "$(share 0.26)" \
    --seed 103 --out "$out/fast"
) >"$out/others.log" 2>&1 &
others=$!
wait $accurate || { echo "$0: the accurate network failed, see $out/accurate.log" >&2; failed=1; }
wait $others || { echo "$0: detector or fast network failed, see $out/others.log" >&2; failed=1; }
exit "${failed:-0}"
