"""Base of the tokenizers, whose vocabularies are fixed."""

from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase


class FixedVocabulary(PreTrainedTokenizerBase):
    """A tokenizer to which no token can be added; one that is refused leaves it as it was."""

    def _check_known(self, tokens: Iterable[Any]) -> None:
        known = self.get_vocab()
        for token in tokens:
            if str(token) not in known:
                raise ValueError(
                    f"{type(self).__name__}: the vocabulary is fixed, got the new token {str(token)!r}"
                )

    def _add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        self._check_known(new_tokens)
        return super()._add_tokens(new_tokens, special_tokens=special_tokens)

    def add_special_tokens(self, special_tokens_dict: Any, *args: Any, **kwargs: Any) -> int:
        """Names tokens of the vocabulary as special ones; see Hugging Face's.

        Raises:
            ValueError: If one is not of the vocabulary.
        """
        for tokens in special_tokens_dict.values():
            self._check_known(tokens if isinstance(tokens, list | tuple) else [tokens])
        return super().add_special_tokens(special_tokens_dict, *args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        # Not while it is made: there is no vocabulary yet.
        if name in self.SPECIAL_TOKENS_ATTRIBUTES and value is not None and "init_kwargs" in vars(self):
            self._check_known([value])
        super().__setattr__(name, value)


__all__ = ["FixedVocabulary"]
