#!/bin/sh
# Writes the public-domain texts that train_tiny.py learns from, one plain-text file each, into the folder given.
# The texts come out of Debian packages (bookworm):
#   apt-get install --no-install-recommends bible-kjv bible-kjv-text r-cran-janeaustenr r-cran-tokenizers
# A form feed opens each chapter, a paragraph or verse is one line. Shakespeare comes from elsewhere:
# pass the "tiny shakespeare" file (1.1 MB, sha256 86c4e6aa...) to train_tiny.py beside these.
set -eu
folder=${1:?usage: collect_texts.sh FOLDER}
mkdir -p "$folder"

# King James Bible, 1611: chapter titles become form feeds, verse numbers go, wrapped lines are joined.
bible "Ge1:1-Re22:21" | awk '
  /^$/ { next }
  /^[1-3A-Z][A-Za-z ]* [0-9]+$/ { if (line) print line; line = ""; printf "\f"; next }
  /^ +[0-9]+ / { if (line) print line; sub(/^ +[0-9]+ /, ""); line = $0; next }
  { line = line " " $0 }
  END { print line }' >"$folder/bible.txt"

# Jane Austen's six novels (1811-1818) and Moby-Dick (1851), without Project Gutenberg's notes around the latter.
Rscript --vanilla - "$folder" <<'R'
folder <- commandArgs(trailingOnly = TRUE)[1]
heading <- "^(CHAPTER|Chapter|VOLUME|ETYMOLOGY|EXTRACTS|Epilogue|FINIS|THE END)"
reflow <- function(lines) {
  lines <- gsub(" +", " ", gsub("_", "", trimws(lines)))
  paragraph <- cumsum(lines == "")
  joined <- tapply(lines, paragraph, function(part) paste(part[part != ""], collapse = " "))
  joined <- joined[joined != ""]
  paste0(ifelse(grepl(heading, joined), "\f", ""), joined, "\n")
}
save <- function(lines, name) {
  text <- iconv(paste(reflow(lines), collapse = "\n"), "UTF-8", "ASCII//TRANSLIT", sub = "")
  cat(text, file = file.path(folder, name), sep = "")
}
save(as.character(janeaustenr::austen_books()$text), "austen.txt")
whale <- strsplit(gsub("\r", "", tokenizers::mobydick), "\n", fixed = TRUE)[[1]]
first <- grep("^ETYMOLOGY", whale)[1]
last <- grep("^\\*?\\*?\\*? ?(End of|END OF)", whale)[1] - 1
save(whale[first:last], "moby_dick.txt")
R
