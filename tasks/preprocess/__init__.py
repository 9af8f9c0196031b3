"""The stage `preprocess`: data/raw to data/prepared, each image decoded once, checked, split and packed."""
