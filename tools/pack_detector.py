"""Write the weights of a detector as small as another training can start from them.

python tools/pack_detector.py RUN/network.safetensors OUT.safetensors
"""

import argparse
from pathlib import Path

from heatpose.model.detector_weights import load_detector, save_start


def main() -> None:
    """Read one file and write the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path, help="network.safetensors of a run")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    save_start(options.out, *load_detector(options.network))
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
