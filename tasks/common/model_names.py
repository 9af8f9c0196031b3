"""The names of the models: the section train_NAME in models/settings.py registers a model NAME.

What a stage does for this model alone stands in the module of its name in the stage's package: tasks/train/NAME.py and
tasks/export/NAME.py, and tasks/evaluate/NAME.py where the model has metrics of its own.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from models.settings import LearnerSettings, TrainingSections

TRAINING_SECTIONS: dict[str, type[LearnerSettings]] = {
    section: field.annotation
    for section, field in TrainingSections.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, LearnerSettings)
}
MODELS: tuple[str, ...] = tuple(section.removeprefix("train_") for section in TRAINING_SECTIONS)
if TYPE_CHECKING:
    Model = str
else:
    Model = Literal[*MODELS]


def own_module(package: str, model: str) -> Any:
    """Returns the module of `package` that belongs to one model, None where that model needs none."""
    name = f"{package}.{model}"
    return import_module(name) if find_spec(name) else None
