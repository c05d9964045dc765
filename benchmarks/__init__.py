"""Speed of every operation and model against its rivals: ``python -m benchmarks``.

One runner, cases as data. To add a case, write ``cases/<name>.py`` with one :class:`benchmarks.case.Case`
called ``CASE``; nothing else has to know of it::

    import torch

    from benchmarks.case import Case, Work
    from dnachunk.ops import scale
    from dnachunk.ops.scale import scale_naive


    def inputs(device, batch, length):
        return {"x": torch.randn(batch, length, device=device)}


    def work(batch, length):
        return Work(bytes=2 * batch * length * 4)  # one read, one write


    CASE = Case(
        name="scale",
        shapes=[{"batch": 8, "length": 4096}, {"batch": 1, "length": 1 << 20}],
        inputs=inputs,  # the keyword arguments of every form, from the shape
        ours=scale,
        rivals={"eager": scale_naive},  # what is called "eager" is also run under torch.compile
        differentiable=["x"],  # adds forward + backward; left out where there is no gradient
        forward_work=work,  # the least that has to be moved and computed
        backward_work=work,
    )

A rival that cannot run at some shape, or not in reasonable time, is named in ``skips``. An end-to-end case,
whose forms run their own backward (a training step), returns its loss, declares nothing differentiable and
gives the work of the whole step. Before anything is timed, every rival's results and gradients are compared
with ours; where they differ, nothing is reported and the command fails.

A ratio is a form's time over ours: above 1, ours is faster. The last line is the machine's limit, timed in
turn with the forms, and the share is that of it: a plain copy of as many bytes, or as many multiplications
in large square products of torch's, which are not always the best.
"""
