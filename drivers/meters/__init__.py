"""One file of rows for each meter model."""

from drivers.meters import eastron_sdm630
from drivers.registers import Model

MODELS: dict[str, Model] = {model.id: model for model in (eastron_sdm630.MODEL,)}
"""Every model taiqu knows, by the id that ``[meter] model`` names."""
