#!/usr/bin/env bash
# Tables 2 and 3 and Figures 3 and 4 of the DAFM paper, from published checkpoints and images.
# What each step is for, and what to expect: docs/how-to/reproduce-dafm.md
#
#   CIRR=data/cirr FASHIONIQ=data/fashioniq WEIGHTS=weights OUT=out/dafm examples/reproduce_dafm.sh
#
# Every step can be repeated: scoring goes on where it stopped, and a finished matrix is kept.
set -euo pipefail

: "${CIRR:?the folder with captions/, image_splits/ and the images of CIRR}"
: "${FASHIONIQ:?the folder with captions/, image_splits/ and images/ of FashionIQ}"
: "${WEIGHTS:?the folder with cirr/ and fashioniq/, see docs/how-to/reproduce-dafm.md}"
OUT=${OUT:-out/dafm}
FUSER=${FUSER:-light-paper}   # the network as printed; FUSER=light is what dafm recommends
MODELS="sprc clip4cir tgcir blip4cir"

# score BENCHMARK STORE DATASET-ARGUMENTS...: one matrix per model
score() {
  local weights=$WEIGHTS/$1 store=$2 model
  shift 2
  for model in $MODELS; do
    local options=(--set "checkpoint=$weights/$model.pt")
    if [[ $model == clip4cir ]]; then
      options+=(--set "combiner=$weights/clip4cir-combiner.pt")
    fi
    if [[ $model == tgcir && -n ${CATEGORY:-} ]]; then
      options+=(--set "corrections=$weights/correction_dict_$CATEGORY.json")
    fi
    dafm score "$@" --provider "$model" "${options[@]}" --store "$store"
  done
}

# 1. CIRR: val to train the fusion on, test1 to submit, val queries against test1 images as a bank
score cirr "$OUT/cirr-val" "cirr:$CIRR" --split val
score cirr "$OUT/cirr-test1" "cirr:$CIRR" --split test1
score cirr "$OUT/cirr-bank" "cirr:$CIRR" --split test1 --dataset-set bank=val

# 2. Table 2 on val, cross-fitted by image set: labels of test1 are only on the server
dafm inspect "$OUT/cirr-val"
dafm compare "$OUT/cirr-val" --folds 5 \
  --report "$OUT/table2.html" --latex "$OUT/table2.tex" --json "$OUT/table2.json"

# 3. Table 2 on test1: files for the server, for the fusion and for each model alone
dafm train "$OUT/cirr-val" --fuser light --out "$OUT/light"
dafm submit cirr "$OUT/cirr-test1" --model "$OUT/light" --bank "$OUT/cirr-bank" \
  --out "$OUT/submit-light"
dafm train "$OUT/cirr-val" --fuser light-paper --out "$OUT/light-paper"
dafm submit cirr "$OUT/cirr-test1" --model "$OUT/light-paper" --out "$OUT/submit-light-paper"
for model in $MODELS; do
  dafm train "$OUT/cirr-val" --providers "$model" --fuser best-single --out "$OUT/$model"
  dafm submit cirr "$OUT/cirr-test1" --model "$OUT/$model" --out "$OUT/submit-$model"
done

# 4. Table 3: FashionIQ val, whole split as gallery, reference kept, three categories in one table
for CATEGORY in dress shirt toptee; do
  score fashioniq "$OUT/fashioniq-$CATEGORY" "fashioniq:$FASHIONIQ" --split val \
    --dataset-set "category=$CATEGORY"
done
dafm compare "$OUT/fashioniq-dress" "$OUT/fashioniq-shirt" "$OUT/fashioniq-toptee" --folds 5 \
  --report "$OUT/table3.html" --latex "$OUT/table3.tex" --json "$OUT/table3.json"

# 5. Figure 3: SPRC first, the others in every order
for store in cirr-val fashioniq-dress fashioniq-shirt fashioniq-toptee; do
  dafm incremental "$OUT/$store" --base sprc --fuser "$FUSER" --folds 5 \
    --report "$OUT/figure3-$store.html" --json "$OUT/figure3-$store.json"
done

# 6. Figure 4: what the fusion rescues; and, beyond the paper, what it breaks
dafm cases "$OUT/cirr-val" --fusers "$FUSER" --outcome rescued --limit 12 \
  --images "cirr:$CIRR" --report "$OUT/figure4-cirr.html"
dafm cases "$OUT/cirr-val" --fusers "$FUSER" --outcome broke --csv "$OUT/regressions-cirr.csv"
