#!/usr/bin/env bash
# The adapters beside the packages that they wrap, each in an environment of its own, since these seldom agree on one torch.
#
#     tests/neighbours.sh FOLDER [speechbrain timm onnxruntime transformers4]
#
# Makes what is missing below FOLDER, then runs the tests in each, all of them if none is named. Some gigabytes each; with
# PIP_CONSTRAINT=FILE, pip takes the versions in that file, such as a torch for the CPU alone.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- speechbrain timm onnxruntime transformers4

run() { # NAME "TESTS" PACKAGES...: torchvision comes with a torch of its own choice
  local name=$1 tests=$2
  shift 2
  if [ ! -e "$folder/$name/made" ]; then
    python3 -m venv --clear "$folder/$name"
    "$folder/$name/bin/pip" install -q "$@" pytest hypothesis -e "$root"
    touch "$folder/$name/made"
  fi
  echo "== $name: $("$folder/$name/bin/pip" list 2>/dev/null | grep -iE '^(torch|torchaudio|torchvision|transformers|speechbrain|timm|onnx|onnxruntime) ' | tr -s ' \n' ' ')"
  # A package that cannot be imported would only skip its tests.
  (cd "$root" && "$folder/$name/bin/python" -c "import ${name%4}" &&
    "$folder/$name/bin/python" -m pytest -o addopts= -q -p no:cacheprovider $tests) || failed+=" $name"
}

failed=""
for name in "$@"; do
  case $name in
    speechbrain) run $name "tests/adapters/test_neighbours.py -k speechbrain" speechbrain ;;
    timm) run $name "tests/adapters/test_neighbours.py -k timm" timm torchvision ;;
    onnxruntime) run $name "tests/adapters/test_neighbours.py -k onnx" onnx onnxruntime ;;
    transformers4) run $name "tests/adapters/test_huggingface.py tests/adapters/test_tokens.py tests/adapters/test_clap.py tests/adapters/test_msclap.py tests/adapters/test_whisper_frontend.py tests/adapters/test_windows.py" "transformers<5" ;;
    *) echo "unknown: $name; known are speechbrain, timm, onnxruntime, transformers4"; exit 2 ;;
  esac
done
if [ -n "$failed" ]; then
  echo "failed in:$failed"
  exit 1
fi
