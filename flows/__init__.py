"""When and where: Prefect runs the stages that dvc.yaml declares, as supervised processes. Torch never enters here."""
