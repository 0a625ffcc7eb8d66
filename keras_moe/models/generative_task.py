"""From prompts to continued prompts, for every task that generates."""

import keras
from keras import ops

from keras_moe.distribution.engines import keras_distributes
from keras_moe.models.cached_decoder import CachedDecoder
from keras_moe.models.next_token import as_prompt
from keras_moe.models.next_token import prompt_lengths
from keras_moe.models.prompt_batches import as_batches
from keras_moe.models.prompt_batches import join_batches
from keras_moe.models.prompts import Prompts
from keras_moe.models.prompts import check_context
from keras_moe.models.route_again import RouteAgain
from keras_moe.models.route_again import check_whole_sequences
from keras_moe.models.stop_token_ids import find_stop_token_ids
from keras_moe.models.traced_state import TracedState
from keras_moe.models.until_stop import until_stop
from keras_moe.ops.recorder import PlainRecorder
from keras_moe.ops.recorder import Recorder

# Stands in the places that are still to be filled: no stop token is this.
UNKNOWN = -1


class GenerativeTask(CachedDecoder):
    """Generates, and knows prompt and continuation apart by the mask.

    Stands before keras-hub's `CausalLM`, whose `generate` looks at the ids
    in the padding: a padding token that is also a stop token ends every
    text at once.

    Attributes:
        prompt_prefix: str, what the keys of the prompts begin with.
        context_prefixes: tuple of str, the same for inputs that are read and
            not continued.
        first_is_real: bool, whether position 0 is a start token whatever the
            mask says.
    """

    prompt_prefix = ""
    context_prefixes: tuple = ()
    first_is_real = False
    _generate_state: TracedState | None = None
    _route_again: RouteAgain | None = None
    _recorder = PlainRecorder()  # Of a step that nobody has compiled.
    _compiles_steps: bool | str = "auto"

    def compile(self, *args, jit_compile="auto", **kwargs):
        """Set how the task trains and generates.

        Args:
            *args: of the `compile` of keras-hub's task, like `**kwargs`.
            jit_compile: bool or `"auto"`, whether XLA compiles. On PyTorch
                `generate` repeats the tensor operations of a step without the
                layers' Python; `False` calls the layers for every token, and
                `True` compiles the operations by `torch.compile`, which takes
                a minute for each shape of prompts.
            **kwargs: `sampler`, `optimizer`, `loss` and others.
        """
        super().compile(*args, jit_compile=jit_compile, **kwargs)
        self._compiles_steps = jit_compile
        self._generate_state = None

    def generate(
        self,
        inputs,
        max_length=None,
        stop_token_ids="auto",
        strip_prompt=False,
        return_routed_experts=False,
    ):
        """Continue prompts.

        Args:
            inputs: what the preprocessor takes, usually a str or a list of
                them; without one, a dict of token ids and padding masks,
                padded on either side to the length to be filled; or a
                `tf.data.Dataset` of either. New tokens come right after the
                prompt, wherever its padding is.
            max_length: optional int, tokens of prompt and continuation;
                `None` means the preprocessor's `sequence_length`. Without a
                preprocessor the arrays' length counts.
            stop_token_ids: optional ints that end a text, generated ones
                only; `"auto"` means those of the tokenizer, `None` none.
            strip_prompt: bool; `True` returns what is new alone.
            return_routed_experts: bool, whether the experts that the tokens
                go to are returned as well, as `RoutedExperts` tells them in
                one pass over the whole sequences. Without a preprocessor
                only, and with the prompts.

        Returns:
            str or list of str; without a preprocessor a dict of int32 token
            ids and bool masks of shape (B, X). A mask is True from the
            prompt's first token to the stop token. With
            `return_routed_experts` also `routed_experts`, int32 (B, X,
            layers, K).

        Raises:
            ValueError: If a prompt is empty or has a hole, or a token id is
                not in the vocabulary, which names the row; or experts are to
            be returned of text or without the prompts.
        """
        if return_routed_experts:
            check_whole_sequences(self, strip_prompt)
            self._route_again = self._route_again or RouteAgain(self)
        stop_token_ids = find_stop_token_ids(stop_token_ids, self.preprocessor)
        has_preprocessor = self.preprocessor is not None
        batches, is_single = as_batches(inputs, has_preprocessor)
        outputs = [
            self._generate_batch(each, max_length, stop_token_ids, strip_prompt)
            for each in batches
        ]
        if return_routed_experts:
            outputs = [
                {**new, **self._route_again({**old, **new})}
                for old, new in zip(batches, outputs, strict=True)
            ]
        return join_batches(outputs, is_single)

    def _generate_batch(self, inputs, max_length, stop_token_ids, strip_prompt):
        if self.preprocessor is not None:
            inputs = self.preprocessor.generate_preprocess(
                inputs, sequence_length=max_length
            )
        prompts, inputs = self._check_prompts(inputs)
        function = self.make_generate_function()
        outputs = function(
            keras.tree.map_structure(_distribute, inputs),
            stop_token_ids=stop_token_ids,
        )
        ids, mask = self._prompt_keys()
        move = prompts.strip if strip_prompt else prompts.put_back
        token_ids, padding_mask = move(
            *(ops.convert_to_numpy(outputs[key]) for key in (ids, mask))
        )
        outputs = {**outputs, ids: token_ids, mask: padding_mask}
        if self.preprocessor is None:
            return outputs
        return self.preprocessor.generate_postprocess(outputs)

    def make_generate_function(self):
        """Return the compiled `generate_step`, traced again if need be.

        Returns:
            Function of a batch and `stop_token_ids`.
        """
        state = TracedState(self, self.sampler)
        if state != self._generate_state:
            self.generate_function = None
            jit_compile = False if self.run_eagerly else self._compiles_steps
            self._recorder = Recorder(jit_compile)
            self._generate_state = state
        return super().make_generate_function()

    def generate_step(self, inputs, stop_token_ids=None):
        """Generate for one batch: the function that is compiled.

        Args:
            inputs: dict of the model's inputs: prompts, int32 (B, X), padded
                on the right to the length to be filled, and their masks, bool
                (B, X), True = token of the prompt; what is read and not
                continued has a length of its own.
            stop_token_ids: optional tuple of ints that end a sequence.

        Returns:
            dict of token ids, int32 (B, X), and mask, bool (B, X), True up to
            each sequence's end.
        """
        ids, mask = self._prompt_keys()
        # Position 0 is a token also of a prompt without any.
        token_ids, prompt_mask = as_prompt(inputs[ids], inputs[mask], True)
        _, cache, hidden_states = self.prefill(
            **{name: inputs[name] for name in self._input_keys()}
        )
        decode = self._recorder.recorded(self.decode, self.weights)

        def next(prompt, cache, index):
            last = ops.slice(prompt, (0, index - 1), (ops.shape(prompt)[0], 1))
            logits, cache, hidden_states = decode(last, cache, index - 1)
            return logits, hidden_states, cache

        generated = self.sampler(
            next=next,
            prompt=ops.where(prompt_mask, token_ids, UNKNOWN),
            cache=cache,
            index=ops.min(prompt_lengths(prompt_mask)),
            mask=prompt_mask,
            stop_token_ids=stop_token_ids,
            hidden_states=hidden_states,
            model=self,
        )
        # A sampler leaves places unfilled once all sequences have ended.
        generated = ops.where(generated == UNKNOWN, token_ids, generated)
        return {
            ids: generated,
            mask: until_stop(generated, prompt_mask, stop_token_ids),
        }

    def _prompt_keys(self):
        prefix = self.prompt_prefix
        return f"{prefix}token_ids", f"{prefix}padding_mask"

    def _input_keys(self):
        prefixes = (*self.context_prefixes, self.prompt_prefix)
        names = [f"{each}token_ids" for each in prefixes]
        return names + [f"{each}padding_mask" for each in prefixes]

    def _check_prompts(self, inputs):
        """Return the prompts, and the inputs with them in their place."""
        ids, mask = self._prompt_keys()
        names = self._input_keys()
        missing = isinstance(inputs, dict) and {*names} - {*inputs}
        if not isinstance(inputs, dict) or missing:
            found = sorted(inputs) if missing else type(inputs).__name__
            raise ValueError(
                f"Expected a dict of {', '.join(names)}. Received: {found}. "
                "Attach a `preprocessor` to generate from text."
            )
        size = self.backbone.vocabulary_size
        checked = dict(inputs)
        for prefix in self.context_prefixes:
            checked.update(check_context(inputs, prefix, size))
        prompts = Prompts(
            inputs[ids], inputs[mask], size, ids, self.first_is_real
        )
        checked.update({ids: prompts.token_ids, mask: prompts.padding_mask})
        return prompts, checked


def _distribute(array):
    """Lay an array out over the devices, if the user distributes."""
    distribution = keras.distribution.distribution()
    if distribution is None or not keras_distributes():
        return array
    layout = distribution.get_data_layout(array.shape)
    if not layout:
        return array
    return keras.distribution.distribute_tensor(array, layout)
