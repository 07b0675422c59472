import pytest

from tfcompress import errors


def test_message_is_rule_received_remedy():
    error = errors.InvalidInputError("num_bits must be 2 to 8", "num_bits=9", "Choose a width in that range")
    assert str(error) == "num_bits must be 2 to 8. Received: num_bits=9. Choose a width in that range."
    assert str(errors.PayloadError("the CRC must match")) == "the CRC must match."


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_an_exit_code(name):
    error = getattr(errors, name)
    assert issubclass(error, errors.TfcompressError)
    assert error.exit_code == (1 if name == "BrokenPromiseError" else 2)
