"""Lets failures in the contracts show their values, as in the test files."""

import pytest

pytest.register_assert_rewrite(
    "tests.models.backbone_contract", "tests.models.contract"
)
