#!/usr/bin/env bash
# What only a CUDA device can show: every verb, the tests marked gpu, a fit of Sprites at 64 pixels, the speed table, the roofline.
#
#   bash benchmarks/gpu.sh OUT                                  under 10 minutes on an H100
#   PYRO_DSVAE_LPC=DIR bash benchmarks/gpu.sh OUT               the fit takes the real art in DIR instead of the embedded one
#   PARTS="smoke tests" bash benchmarks/gpu.sh OUT     some parts only: smoke tests fit roofline speed
#   DEVICE=cpu TINY=1 bash benchmarks/gpu.sh OUT                every command line, on the CPU, in a few minutes
#
# Every step has a limit of its own, and one that fails does not stop the others. OUT gets gpu.log (all that was printed),
# steps.md (versions; what worked, in how many seconds), the speed table and the roofline, and of the fit evaluation.json and
# swaps.png. Exits with 1 where a step failed.
set -u
cd "$(dirname "$0")/.."
mkdir -p "${1:?the folder to write: bash benchmarks/gpu.sh OUT}"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/steps"

device=${DEVICE:-cuda} tiny=${TINY:-} python=${PYTHON:-python3}
patience=$([[ -n $tiny ]] && echo 5 || echo 1)
parts=" ${PARTS:-smoke tests fit roofline speed} "
jobs=${JOBS:-$(($(nproc) > 6 ? 6 : $(nproc)))}
# Steps run side by side: with as many threads as cores each they would wait for one another.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
export MPLBACKEND=Agg PYTHONUNBUFFERED=1 PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}" TORCHINDUCTOR_CACHE_DIR="$work/inductor"

asked() { [[ $parts == *" $1 "* ]]; }

number=0
# step NAME SECONDS COMMAND…: runs it with that limit, as one of at most $jobs at a time.
step() {
  while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
  number=$((number + 1))
  _step "$work/steps/$(printf %03d $number)" "$@" &
}
_step() {
  local files=$1 name=$2 limit=$((patience * $3)) start=$SECONDS code
  shift 3
  if timeout -k 5 "$limit" "$@" >"$files.log" 2>&1 </dev/null; then code=ok; else
    code=$?
    ((code == 124 || code == 137)) && code="stopped after $limit s" || code="failed ($code)"
  fi
  echo "| $name | $code | $((SECONDS - start)) |" | tee "$files.row"
  # At once, so that a run that is cut off has said what it found.
  {
    flock 9
    [[ $name != versions ]] || sed 's/$/\n/' "$files.log" >>"$out/steps.md"
    [[ $name != versions ]] || printf '| step | | seconds |\n|---|---|---:|\n' >>"$out/steps.md"
    cat "$files.row" >>"$out/steps.md"
    {
      printf '\n===== %s: %s\n$' "$name" "$code"
      printf ' %q' "$@"
      echo
      tail -c 20000 "$files.log"
    } >>"$out/gpu.log"
  } 9>"$work/lock"
  if [[ $code != ok ]]; then tail -n 12 "$files.log" | cut -c 1-300 | sed 's/^/    /'; fi
}

few=(--device "$device" --steps 6 --optimisation.evaluations 1 --optimisation.prior_refit_steps 20 --optimisation.batch_size 16)
if [[ -n $tiny ]]; then
  few+=(--data Arrays --data.path "$work/clips.npz")
  "$python" -c '
import sys
import numpy as np
np.savez(sys.argv[1], frames=np.random.default_rng(0).integers(0, 256, (200, 8, 3, 16, 16), dtype=np.uint8))
' "$work/clips.npz"
fi
first="$work/default"

# fit_few NAME OPTION…: six steps.
fit_few() {
  local name=$1
  shift
  step "fit: $name" 120 "$python" -m pyro_dsvae.fit --out "$work/$name" "${few[@]}" "$@"
}

smoke() {
  fit_few default
  wait $! # it trains the judge, which the others then find
  fit_few bf16 --precision bf16
  fit_few on-device --data_on device
  fit_few on-host --data_on host
  fit_few profiled --profile
  fit_few contrastive --contrastive.weight_mi 1
  [[ -n $tiny ]] || fit_few compiled --compile default
  [[ $device == cpu ]] || fit_few graphs --compile reduce-overhead
  for recipe in pyro_dsvae/recipes/*.yaml; do
    recipe=$(basename "$recipe" .yaml)
    fit_few "$recipe" --config "$recipe"
  done
  cp -r "$first" "$work/longer"
  step "fit: resumed" 90 "$python" -m pyro_dsvae.fit --out "$work/longer" --resume --steps 9
  step "compare" 150 "$python" -m pyro_dsvae.compare --vary dynamic_prior=LSTM,IID --seeds 1 --out "$work/compare" \
    --sequences 4 --draws 30 "${few[@]}"
  step "ppc" 150 "$python" -m pyro_dsvae.ppc "$first" --device "$device" --sequences 8 --draws 4 --simulations 50 --evidence_draws 25
  step "evaluate" 150 "$python" -m pyro_dsvae.evaluate "$first" --device "$device" --evidence 4 --evidence_draws 25
  step "latents swap" 60 "$python" -m pyro_dsvae.latents swap "$first" --appearances 3,7 --motions 1,2
  step "latents sample" 60 "$python" -m pyro_dsvae.latents sample "$first" --keep static --clip 3
  step "latents interpolate" 60 "$python" -m pyro_dsvae.latents interpolate "$first" --between 3,30 --latent both
  step "latents traverse" 60 "$python" -m pyro_dsvae.latents traverse "$first" --clip 3
  step "latents impute" 60 "$python" -m pyro_dsvae.latents impute "$first" --missing-frames 2,5 --missing-pixels .5
  step "latents forecast" 60 "$python" -m pyro_dsvae.latents forecast "$first" --given 5 --horizon 8
  step "latents encode" 60 "$python" -m pyro_dsvae.latents encode "$first" --format npz,csv
  step "a run of $device on the CPU and back" 60 "$python" -c '
import sys
import torch
import pyro_dsvae
here, there = (pyro_dsvae.load(sys.argv[1], device=device) for device in ("cpu", sys.argv[2]))
x = here.sequences().part("test").frames[:4]
for kind in ("f", "z"):
    a, b = (getattr(run.encode(x), kind).cpu() for run in (here, there))
    print(kind, "differs by", float((a - b).abs().max()), "at most, of", float(a.std()))
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
' "$first" "$device"
  wait
}

# The composed frames of the real art are a file that the fit, its evaluation and their judge read.
data=(--data Sprites --data.size 64)
[[ -z ${PYRO_DSVAE_LPC:-} ]] || data=(--data LPCSprites --data.size 64 --data.root "$PYRO_DSVAE_LPC")
compose() {
  step "compose the real Sprites" 150 "$python" -c '
import sys
from pyro_dsvae.data.lpc_sprites import LPCSprites
print(LPCSprites(sys.argv[1], size=64).load().frames.shape)
' "$PYRO_DSVAE_LPC"
}

fit() {
  if [[ -n $tiny ]]; then
    step "fit of Sprites" 120 "$python" -m pyro_dsvae.fit --out "$work/sprites" "${few[@]}"
  else
    step "fit of Sprites at 64 pixels" 240 "$python" -m pyro_dsvae.fit --out "$work/sprites" --device "$device" "${data[@]}" \
      --minutes "${MINUTES:-2.5}" --precision bf16 --optimisation.batch_size 128
  fi
  wait
  step "its evaluation" 120 "$python" -m pyro_dsvae.evaluate "$work/sprites" --split test --device "$device"
  wait
  cp "$work/sprites/evaluation/evaluation.json" "$out/"
  cp "$work/sprites/figures/swap.png" "$out/swaps.png"
}

versions() {
  step versions 60 "$python" -c '
import platform, sys
from importlib.metadata import version
import torch
print("Python", platform.python_version(), "torch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())
print(*(f"{name} {version(name)}" for name in ("numpy", "pyro-ppl", "lightning-fabric", "jsonargparse", "arviz-base", "zuko")), sep=", ")
print(torch.cuda.get_device_name() if sys.argv[1] == "cuda" else platform.machine())
' "$device"
  wait
}

rm -f "$out/steps.md" "$out/gpu.log"
versions
if asked fit && [[ -n ${PYRO_DSVAE_LPC:-} && -z $tiny ]]; then compose; fi
if asked tests; then
  step "tests marked gpu" 150 "$python" -m pytest -m gpu -n "$((jobs > 4 ? 4 : jobs))" -W default -p no:cacheprovider --no-header --tb=short -rfEs tests
fi
if asked smoke; then smoke; fi
wait
if asked fit; then fit; fi
# From here on one at a time: they are timed.
if asked roofline; then
  size=(--precision bf16 --size 64 --batch 512 --seconds 8)
  [[ -z $tiny ]] || size=(--batch 2 --seconds 1)
  step roofline 90 "$python" benchmarks/roofline.py --device "$device" "${size[@]}" --out "$out"
  wait
fi
if asked speed; then
  size=(--seconds 8)
  [[ -z $tiny ]] || size=(--quick --rounds 6 --seconds 1)
  step "speed table" 180 "$python" benchmarks/speed.py --device "$device" "${size[@]}" --out "$out"
  wait
fi

printf '\n%s seconds in all.\n' "$SECONDS" | tee -a "$out/steps.md"
! grep -qv '| ok |' "$work"/steps/*.row
