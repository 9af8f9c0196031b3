"""The stage `preprocess`: decodes, checks and splits the images of data/raw and packs them into data/prepared."""
