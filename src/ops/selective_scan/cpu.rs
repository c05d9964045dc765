//! CPU kernel of [`selective_scan`](super).
//!
//! A task has one tile of channels of one sequence and goes through the sequence in blocks. A pass over the
//! rows of a block, which reads memory in order, puts what each group of 16 channels needs at each step side
//! by side; then each group, one vector register wide, runs through the block with its states in the nearest
//! cache. Channels that fill up the last group are 0 and stay so.

use super::BLOCK;
use crate::float::{Accumulator, Scalar, sigmoid, softplus};
use crate::parallel::{self, Disjoint};
use crate::rows::{Order, Rows};
use crate::simd::vectorized;
use macro_rules_attribute::apply;
use std::ops::{Index, Range};

/// Channels of a group.
const LANES: usize = 16;

/// Groups of a tile.
const GROUPS: usize = 8;

/// Channels of a tile.
const TILE: usize = LANES * GROUPS;

/// Steps whose sums over tiles a task takes at once.
const SPAN: usize = 256;

/// The channels of a group. Aligned: a register that lies across two lines of the cache takes twice as long.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Lanes<A>([A; LANES]);

impl<A: Accumulator> Lanes<A> {
    const ZERO: Self = Self([A::ZERO; LANES]);
}

impl<A> Index<usize> for Lanes<A> {
    type Output = A;

    #[inline(always)]
    fn index(&self, lane: usize) -> &A {
        &self.0[lane]
    }
}

/// What forward and backward read.
pub struct Arguments<'a, T: Scalar> {
    /// `[B, N, D]`.
    pub x: Rows<'a, T>,
    /// `[B, N, D]`.
    pub delta: Rows<'a, T>,
    /// `A [D, S]`.
    pub state_matrix: &'a [T::Acc],
    /// `B [B, N, S]`.
    pub input_matrix: Rows<'a, T>,
    /// `C [B, N, S]`.
    pub output_matrix: Rows<'a, T>,
    /// `[D]`.
    pub skip: &'a [T::Acc],
    /// `[B, N, D]`.
    pub gate: Option<Rows<'a, T>>,
    /// `[D]`.
    pub delta_bias: Option<&'a [T::Acc]>,
    /// `[B]`, each in `[0, N]`.
    pub lengths: &'a [i64],
    /// Positions, N.
    pub length: usize,
    /// States of a channel, S.
    pub state_size: usize,
    /// From the last real position to the first.
    pub reverse: bool,
}

impl<T: Scalar> Arguments<'_, T> {
    fn channels(&self) -> usize {
        self.skip.len()
    }

    fn tiles(&self) -> usize {
        self.channels().div_ceil(TILE)
    }

    fn blocks(&self) -> usize {
        self.length.div_ceil(BLOCK)
    }

    fn order(&self, sequence: usize) -> Order {
        Order { real: self.lengths[sequence] as usize, reverse: self.reverse }
    }

    /// Runs `body` on every tile of every sequence.
    fn for_each_tile(&self, threads: usize, body: impl Fn(&Tile<T::Acc>) + Sync) {
        parallel::for_each(threads, self.lengths.len() * self.tiles(), |task| body(&Tile::new(self, task)));
    }
}

/// Channels of one sequence and what belongs to them alone.
struct Tile<A> {
    /// Among the tiles of all sequences.
    index: usize,
    sequence: usize,
    order: Order,
    channels: Range<usize>,
    groups: Vec<Group<A>>,
}

/// The parameters of 16 channels.
struct Group<A> {
    /// `A [S]`.
    matrix: Vec<Lanes<A>>,
    skip: Lanes<A>,
    bias: Lanes<A>,
}

impl<A: Accumulator> Tile<A> {
    fn new<T: Scalar<Acc = A>>(arguments: &Arguments<'_, T>, index: usize) -> Self {
        let (sequence, tile) = (index / arguments.tiles(), index % arguments.tiles());
        let channels = tile * TILE..((tile + 1) * TILE).min(arguments.channels());
        let size = arguments.state_size;
        let groups = channels.clone().step_by(LANES).map(|first| {
            let real = (channels.end - first).min(LANES);
            let widened = |value: &dyn Fn(usize) -> A| {
                lanes(|lane| if lane < real { value(first + lane) } else { A::ZERO })
            };
            Group {
                matrix: (0..size)
                    .map(|state| widened(&|channel| arguments.state_matrix[channel * size + state]))
                    .collect(),
                skip: widened(&|channel| arguments.skip[channel]),
                bias: widened(&|channel| arguments.delta_bias.map_or(A::ZERO, |bias| bias[channel])),
            }
        });
        let groups = groups.collect();
        Self { index, sequence, order: arguments.order(sequence), channels, groups }
    }

    /// The states of all channels, 0.
    fn states(&self) -> Vec<Vec<Lanes<A>>> {
        self.groups.iter().map(|group| vec![Lanes::ZERO; group.matrix.len()]).collect()
    }

    /// The steps of a block that visit real positions.
    fn steps(&self, block: usize) -> Range<usize> {
        (block * BLOCK).min(self.order.real)..((block + 1) * BLOCK).min(self.order.real)
    }

    /// The tile's row of a `[B, N, D]` at a step.
    #[inline(always)]
    fn row<'a, T>(&self, rows: Rows<'a, T>, step: usize) -> &'a [T] {
        rows.row(self.sequence, self.order.position(step), self.channels.clone())
    }

    fn channels_of(&self, group: usize) -> Range<usize> {
        let first = self.channels.start + group * LANES;
        first..(first + LANES).min(self.channels.end)
    }

    /// The place of the same row in a contiguous result.
    #[inline(always)]
    fn place<T: Scalar>(&self, arguments: &Arguments<'_, T>, step: usize) -> Range<usize> {
        let row = self.sequence * arguments.length + self.order.position(step);
        let start = row * arguments.channels();
        start + self.channels.start..start + self.channels.end
    }

    /// Writes 0 to the tile's channels of padding.
    fn clear_padding<T: Scalar>(&self, target: &Disjoint<'_, T>, arguments: &Arguments<'_, T>) {
        for step in self.order.real..arguments.length {
            // SAFETY: a row of one sequence and tile, which one task has to itself.
            unsafe { target.part(self.place(arguments, step)) }.fill(T::store(T::Acc::ZERO));
        }
    }

    /// The place of a group's states before a block in `[B, blocks, S, D]`, state by state.
    fn stored<T: Scalar>(
        &self,
        arguments: &Arguments<'_, T>,
        block: usize,
        group: usize,
    ) -> impl Iterator<Item = Range<usize>> {
        let first = (self.sequence * arguments.blocks() + block) * arguments.state_size;
        let (width, channels) = (arguments.channels(), self.channels_of(group));
        (first..first + arguments.state_size)
            .map(move |row| row * width + channels.start..row * width + channels.end)
    }
}

/// What one group reads at one step, and then its results.
#[derive(Clone, Copy)]
struct Cell<A> {
    /// `Δ`.
    step: Lanes<A>,
    x: Lanes<A>,
    /// `silu(gate)`, or 1.
    gate: Lanes<A>,
    /// Derivative of `Δ` by `delta`; for the backward pass, as are the next.
    step_slope: Lanes<A>,
    /// Gradient of the result.
    grad: Lanes<A>,
    /// Derivative of `silu(gate)` by `gate`.
    gate_slope: Lanes<A>,
}

/// What the recurrence of one block reads, and then its results by position.
struct Block<A> {
    /// `[groups, BLOCK]`.
    cells: Vec<Cell<A>>,
    /// `B [BLOCK, S]`.
    input: Vec<A>,
    /// `C [BLOCK, S]`.
    output: Vec<A>,
}

impl<A: Accumulator> Block<A> {
    fn new(tile: &Tile<A>, state_size: usize) -> Self {
        let zeros = Lanes::ZERO;
        let cell =
            Cell { step: zeros, x: zeros, gate: zeros, step_slope: zeros, grad: zeros, gate_slope: zeros };
        Self {
            cells: vec![cell; tile.groups.len() * BLOCK],
            input: vec![A::ZERO; BLOCK * state_size],
            output: vec![A::ZERO; BLOCK * state_size],
        }
    }

    /// Reads these steps; with a gradient, what the backward pass needs too.
    #[inline(always)]
    fn read<T: Scalar<Acc = A>>(
        &mut self,
        arguments: &Arguments<'_, T>,
        grad_out: Option<Rows<'_, T>>,
        tile: &Tile<A>,
        steps: Range<usize>,
    ) {
        let size = arguments.state_size;
        for (index, step) in steps.enumerate() {
            let (x, delta) = (tile.row(arguments.x, step), tile.row(arguments.delta, step));
            let gate = arguments.gate.map(|gate| tile.row(gate, step));
            let grad = grad_out.map(|grad| tile.row(grad, step));
            let cells = self.cells.iter_mut().skip(index).step_by(BLOCK);
            for (group, (Group { bias, .. }, cell)) in tile.groups.iter().zip(cells).enumerate() {
                let delta = load(delta, group);
                let delta = lanes(|lane| delta[lane] + bias[lane]);
                cell.step = lanes(|lane| softplus(delta[lane]));
                cell.x = load(x, group);
                let gate = gate.map(|gate| load(gate, group));
                let open = gate.map(|gate| lanes(|lane| sigmoid(gate[lane])));
                cell.gate = match (gate, open) {
                    (Some(gate), Some(open)) => lanes(|lane| gate[lane] * open[lane]),
                    _ => Lanes([A::ONE; LANES]),
                };
                if let Some(grad) = grad {
                    cell.grad = load(grad, group);
                    cell.step_slope = lanes(|lane| sigmoid(delta[lane]));
                    if let Some(open) = open {
                        // silu' = σ (1 + a (1 − σ)) = σ + silu (1 − σ)
                        let silu = cell.gate;
                        cell.gate_slope = lanes(|lane| open[lane] + silu[lane] * (A::ONE - open[lane]));
                    }
                }
            }
            let position = tile.order.position(step);
            let at = index * size..(index + 1) * size;
            let input = arguments.input_matrix.row(tile.sequence, position, 0..size);
            let output = arguments.output_matrix.row(tile.sequence, position, 0..size);
            for (values, row) in [(&mut self.input[at.clone()], input), (&mut self.output[at], output)] {
                for (value, element) in values.iter_mut().zip(row) {
                    *value = element.load();
                }
            }
        }
    }

    /// Writes one field of the cells to a contiguous `[B, N, D]`. Not inside the recurrence, whose stores would
    /// queue behind those that miss the cache.
    #[inline(always)]
    fn write<T: Scalar<Acc = A>>(
        &self,
        arguments: &Arguments<'_, T>,
        tile: &Tile<A>,
        steps: Range<usize>,
        target: &Disjoint<'_, T>,
        field: impl Fn(&Cell<A>) -> &Lanes<A>,
    ) {
        for (index, step) in steps.enumerate() {
            // SAFETY: a row of one sequence and tile, which one task has to itself.
            let row = unsafe { target.part(tile.place(arguments, step)) };
            for (row, cell) in row.chunks_mut(LANES).zip(self.cells.iter().skip(index).step_by(BLOCK)) {
                store(field(cell), row);
            }
        }
    }
}

#[inline(always)]
fn lanes<A: Accumulator>(value: impl Fn(usize) -> A) -> Lanes<A> {
    let mut lanes = [A::ZERO; LANES];
    for (lane, target) in lanes.iter_mut().enumerate() {
        *target = value(lane);
    }
    Lanes(lanes)
}

/// The channels of one group of a row; those that are missing are 0.
#[inline(always)]
fn load<T: Scalar>(row: &[T], group: usize) -> Lanes<T::Acc> {
    let elements = &row[group * LANES..row.len().min((group + 1) * LANES)];
    if let Ok(elements) = <&[T; LANES]>::try_from(elements) {
        return lanes(|lane| elements[lane].load());
    }
    lanes(|lane| elements.get(lane).map_or(T::Acc::ZERO, |element| element.load()))
}

#[inline(always)]
fn store<T: Scalar>(values: &Lanes<T::Acc>, elements: &mut [T]) {
    let mut rounded = [T::store(T::Acc::ZERO); LANES];
    for (element, value) in rounded.iter_mut().zip(&values.0) {
        *element = T::store(*value);
    }
    if let Ok(elements) = <&mut [T; LANES]>::try_from(&mut *elements) {
        *elements = rounded;
    } else {
        elements.copy_from_slice(&rounded[..elements.len()]);
    }
}

/// The sum over lanes of each of as many rows, as trees.
#[inline(always)]
fn totals<A: Accumulator>(mut sums: [Lanes<A>; LANES]) -> Lanes<A> {
    const HALF: usize = LANES / 2;
    let mut count = HALF;
    while count > 0 {
        for row in 0..count {
            // Folds two rows and interleaves them: after the last round each lane has the sum of its row.
            let (even, odd) = (sums[row], sums[row + count]);
            let mut folded = [A::ZERO; LANES];
            for (pair, lane) in folded.as_chunks_mut::<2>().0.iter_mut().zip(0..HALF) {
                *pair = [even[lane] + even[lane + HALF], odd[lane] + odd[lane + HALF]];
            }
            sums[row] = Lanes(folded);
        }
        count /= 2;
    }
    sums[0]
}

#[apply(vectorized!)]
fn forward_block<T: Scalar>(
    arguments: &Arguments<'_, T>,
    tile: &Tile<T::Acc>,
    steps: Range<usize>,
    block: &mut Block<T::Acc>,
    states: &mut [Vec<Lanes<T::Acc>>],
    out: &Disjoint<'_, T>,
) {
    block.read(arguments, None, tile, steps.clone());
    let size = arguments.state_size;
    let cells = block.cells.chunks_exact_mut(BLOCK);
    for ((group, states), cells) in tile.groups.iter().zip(states).zip(cells) {
        let (matrix, states) = (&group.matrix[..size], &mut states[..size]);
        for (place, cell) in (0..steps.len()).zip(cells) {
            let drive = lanes(|lane| cell.step[lane] * cell.x[lane]);
            let mut y = lanes(|lane| group.skip[lane] * cell.x[lane]);
            let at = place * size..(place + 1) * size;
            let (inputs, outputs) = (&block.input[at.clone()], &block.output[at]);
            for state in 0..size {
                let (matrix, before) = (matrix[state], states[state]);
                let after = lanes(|lane| {
                    let decay = (cell.step[lane] * matrix[lane]).exp_of_nonpositive();
                    decay.mul_add(before[lane], drive[lane] * inputs[state])
                });
                y = lanes(|lane| outputs[state].mul_add(after[lane], y[lane]));
                states[state] = after;
            }
            cell.gate = lanes(|lane| y[lane] * cell.gate[lane]);
        }
    }
    block.write(arguments, tile, steps, out, |cell| &cell.gate);
}

/// Writes `out [B, N, D]` and the states before each block, `[B, ⌈N / BLOCK⌉, S, D]`.
pub fn forward<T: Scalar>(
    arguments: &Arguments<'_, T>,
    threads: usize,
    out: &mut [T],
    stored_states: &mut [T::Acc],
) {
    let (out, stored_states) = (Disjoint::new(out), Disjoint::new(stored_states));
    arguments.for_each_tile(threads, |tile| {
        let mut block = Block::new(tile, arguments.state_size);
        let mut states = tile.states();
        for index in 0..arguments.blocks() {
            for (group, states) in states.iter().enumerate() {
                for (state, elements) in states.iter().zip(tile.stored(arguments, index, group)) {
                    // SAFETY: states of one sequence and tile, which one task has to itself.
                    let target = unsafe { stored_states.part(elements) };
                    target.copy_from_slice(&state.0[..target.len()]);
                }
            }
            forward_block(arguments, tile, tile.steps(index), &mut block, &mut states, &out);
        }
        tile.clear_padding(&out, arguments);
    });
}

/// What the backward pass writes.
pub struct Gradients<'a, T: Scalar> {
    /// `[B, N, D]`.
    pub x: &'a mut [T],
    /// `[B, N, D]`.
    pub delta: &'a mut [T],
    /// `[D, S]`.
    pub state_matrix: &'a mut [T::Acc],
    /// `[B, N, S]`.
    pub input_matrix: &'a mut [T],
    /// `[B, N, S]`.
    pub output_matrix: &'a mut [T],
    /// `[D]`.
    pub skip: &'a mut [T::Acc],
    /// `[B, N, D]`, or empty without a gate.
    pub gate: &'a mut [T],
    /// `[D]`, or empty without a bias.
    pub delta_bias: &'a mut [T::Acc],
}

/// The results of the backward pass that lie by position.
struct Targets<'a, T: Scalar> {
    x: Disjoint<'a, T>,
    delta: Disjoint<'a, T>,
    gate: Option<Disjoint<'a, T>>,
    /// `[B, tiles, steps, S]`.
    input: Disjoint<'a, T::Acc>,
    /// `[B, tiles, steps, S]`.
    output: Disjoint<'a, T::Acc>,
}

/// What the backward pass keeps of one state at one step.
#[derive(Clone, Copy)]
struct Trace<A> {
    decay: Lanes<A>,
    /// What the decay leaves of the state.
    left: Lanes<A>,
    /// Gradient of `B`, not yet summed over lanes.
    grad_input: Lanes<A>,
    /// Gradient of `C`, not yet summed over lanes.
    grad_output: Lanes<A>,
}

/// What a task of the backward pass works on.
struct Scratch<A> {
    block: Block<A>,
    /// `[BLOCK, S]`.
    traces: Vec<Trace<A>>,
    /// Gradients of the parameters.
    groups: Vec<Group<A>>,
}

impl<A: Accumulator> Scratch<A> {
    fn new(tile: &Tile<A>, state_size: usize) -> Self {
        let zeros = Lanes::ZERO;
        let trace = Trace { decay: zeros, left: zeros, grad_input: zeros, grad_output: zeros };
        let group = |_| Group { matrix: vec![zeros; state_size], skip: zeros, bias: zeros };
        Self {
            block: Block::new(tile, state_size),
            traces: vec![trace; BLOCK * state_size],
            groups: tile.groups.iter().map(group).collect(),
        }
    }
}

/// Turns the `states` before the block into those after it, and the gradients `carried` from after the block
/// into those from before it.
#[apply(vectorized!)]
fn backward_block<T: Scalar>(
    arguments: &Arguments<'_, T>,
    grad_out: Rows<'_, T>,
    tile: &Tile<T::Acc>,
    steps: Range<usize>,
    states: &mut [Vec<Lanes<T::Acc>>],
    carried: &mut [Vec<Lanes<T::Acc>>],
    scratch: &mut Scratch<T::Acc>,
    targets: &Targets<'_, T>,
) {
    let Scratch { block, traces, groups: grad_groups } = scratch;
    block.read(arguments, Some(grad_out), tile, steps.clone());
    let size = arguments.state_size;
    let zeros = Lanes::ZERO;
    for trace in &mut *traces {
        (trace.grad_input, trace.grad_output) = (zeros, zeros);
    }
    let channels = tile.groups.iter().zip(grad_groups).zip(block.cells.chunks_exact_mut(BLOCK));
    for (((group, grad_group), cells), (states, carried)) in channels.zip(states.iter_mut().zip(carried)) {
        let matrix = &group.matrix[..size];
        let (states, carried) = (&mut states[..size], &mut carried[..size]);
        for (place, cell) in (0..steps.len()).zip(&*cells) {
            let drive = lanes(|lane| cell.step[lane] * cell.x[lane]);
            let at = place * size..(place + 1) * size;
            let (inputs, traces) = (&block.input[at.clone()], &mut traces[at]);
            for state in 0..size {
                let (matrix, before) = (matrix[state], states[state]);
                let decay = lanes(|lane| (cell.step[lane] * matrix[lane]).exp_of_nonpositive());
                let left = lanes(|lane| decay[lane] * before[lane]);
                states[state] = lanes(|lane| drive[lane].mul_add(inputs[state], left[lane]));
                (traces[state].decay, traces[state].left) = (decay, left);
            }
        }
        // Summed by block first: long sums of small terms lose less.
        let mut grad = Group { matrix: vec![zeros; size], skip: zeros, bias: zeros };
        let grad_matrix = &mut grad.matrix[..size];
        for (place, cell) in (0..steps.len()).zip(cells).rev() {
            let drive = lanes(|lane| cell.step[lane] * cell.x[lane]);
            let grad_y = lanes(|lane| cell.grad[lane] * cell.gate[lane]);
            let mut y = lanes(|lane| group.skip[lane] * cell.x[lane]);
            let (mut grad_drive, mut grad_step) = (zeros, zeros);
            let at = place * size..(place + 1) * size;
            let (inputs, outputs) = (&block.input[at.clone()], &block.output[at.clone()]);
            let traces = &mut traces[at];
            for state in 0..size {
                let (matrix, input, output) = (matrix[state], inputs[state], outputs[state]);
                let (carry, sum) = (carried[state], grad_matrix[state]);
                let Trace { decay, left, grad_input, grad_output } = traces[state];
                let after = lanes(|lane| drive[lane].mul_add(input, left[lane]));
                y = lanes(|lane| output.mul_add(after[lane], y[lane]));
                let grad_state = lanes(|lane| output.mul_add(grad_y[lane], carry[lane]));
                let grad_exponent = lanes(|lane| left[lane] * grad_state[lane]);
                grad_drive = lanes(|lane| input.mul_add(grad_state[lane], grad_drive[lane]));
                grad_step = lanes(|lane| matrix[lane].mul_add(grad_exponent[lane], grad_step[lane]));
                grad_matrix[state] = lanes(|lane| cell.step[lane].mul_add(grad_exponent[lane], sum[lane]));
                traces[state].grad_input =
                    lanes(|lane| drive[lane].mul_add(grad_state[lane], grad_input[lane]));
                traces[state].grad_output =
                    lanes(|lane| grad_y[lane].mul_add(after[lane], grad_output[lane]));
                carried[state] = lanes(|lane| decay[lane] * grad_state[lane]);
            }
            let grad_x =
                lanes(|lane| group.skip[lane].mul_add(grad_y[lane], cell.step[lane] * grad_drive[lane]));
            let grad_delta =
                lanes(|lane| cell.x[lane].mul_add(grad_drive[lane], grad_step[lane]) * cell.step_slope[lane]);
            let grad_gate = lanes(|lane| cell.grad[lane] * y[lane] * cell.gate_slope[lane]);
            grad.skip = lanes(|lane| grad_y[lane].mul_add(cell.x[lane], grad.skip[lane]));
            grad.bias = lanes(|lane| grad.bias[lane] + grad_delta[lane]);
            (cell.x, cell.step, cell.gate) = (grad_x, grad_delta, grad_gate);
        }
        grad_group.skip = lanes(|lane| grad_group.skip[lane] + grad.skip[lane]);
        grad_group.bias = lanes(|lane| grad_group.bias[lane] + grad.bias[lane]);
        for (sum, term) in grad_group.matrix.iter_mut().zip(&grad.matrix) {
            *sum = lanes(|lane| sum[lane] + term[lane]);
        }
    }
    block.write(arguments, tile, steps.clone(), &targets.x, |cell| &cell.x);
    block.write(arguments, tile, steps.clone(), &targets.delta, |cell| &cell.step);
    if let Some(target) = &targets.gate {
        block.write(arguments, tile, steps.clone(), target, |cell| &cell.gate);
    }
    let first = tile.index * arguments.length;
    let place = (first + steps.start) * size..(first + steps.end) * size;
    // SAFETY: steps of one sequence and tile, which one task has to itself.
    let (input, output) = unsafe { (targets.input.part(place.clone()), targets.output.part(place)) };
    let sums = input.chunks_mut(LANES).zip(output.chunks_mut(LANES));
    for ((input, output), traces) in sums.zip(traces.as_chunks::<LANES>().0) {
        input.copy_from_slice(&totals(traces.map(|trace| trace.grad_input)).0[..input.len()]);
        output.copy_from_slice(&totals(traces.map(|trace| trace.grad_output)).0[..output.len()]);
    }
}

/// Writes the gradients from that of the result, `[B, N, D]`, and the forward pass's states.
pub fn backward<T: Scalar>(
    grad_out: Rows<'_, T>,
    stored_states: &[T::Acc],
    arguments: &Arguments<'_, T>,
    threads: usize,
    gradients: Gradients<'_, T>,
) {
    let (batch, channels, size) = (arguments.lengths.len(), arguments.channels(), arguments.state_size);
    let zeros = |count| vec![T::Acc::ZERO; count];
    let by_tile = batch * arguments.tiles() * arguments.length * size;
    let (mut input, mut output) = (zeros(by_tile), zeros(by_tile));
    let (mut matrix, mut skip, mut bias) =
        (zeros(batch * channels * size), zeros(batch * channels), zeros(batch * channels));
    {
        let targets = Targets {
            x: Disjoint::new(gradients.x),
            delta: Disjoint::new(gradients.delta),
            gate: arguments.gate.map(|_| Disjoint::new(gradients.gate)),
            input: Disjoint::new(&mut input),
            output: Disjoint::new(&mut output),
        };
        let (matrix, skip, bias) =
            (Disjoint::new(&mut matrix), Disjoint::new(&mut skip), Disjoint::new(&mut bias));
        arguments.for_each_tile(threads, |tile| {
            let mut scratch = Scratch::new(tile, size);
            let (mut states, mut carried) = (tile.states(), tile.states());
            for index in (0..tile.order.real.div_ceil(BLOCK)).rev() {
                for (group, states) in states.iter_mut().enumerate() {
                    for (state, elements) in states.iter_mut().zip(tile.stored(arguments, index, group)) {
                        let stored = &stored_states[elements];
                        state.0[..stored.len()].copy_from_slice(stored);
                    }
                }
                let steps = tile.steps(index);
                backward_block(
                    arguments,
                    grad_out,
                    tile,
                    steps,
                    &mut states,
                    &mut carried,
                    &mut scratch,
                    &targets,
                );
            }
            for target in
                [Some(&targets.x), Some(&targets.delta), targets.gate.as_ref()].into_iter().flatten()
            {
                tile.clear_padding(target, arguments);
            }
            for (index, group) in scratch.groups.iter().enumerate() {
                for (lane, channel) in tile.channels_of(index).enumerate() {
                    let place = tile.sequence * channels + channel;
                    // SAFETY: a channel of one sequence, which one task has to itself.
                    let (matrix, skip, bias) = unsafe {
                        (
                            matrix.part(place * size..(place + 1) * size),
                            skip.part(place..place + 1),
                            bias.part(place..place + 1),
                        )
                    };
                    for (target, value) in matrix.iter_mut().zip(&group.matrix) {
                        *target = value[lane];
                    }
                    (skip[0], bias[0]) = (group.skip[lane], group.bias[lane]);
                }
            }
        });
    }
    sum_sequences(&matrix, gradients.state_matrix);
    sum_sequences(&skip, gradients.skip);
    sum_sequences(&bias, gradients.delta_bias);
    sum_tiles(arguments, &input, threads, gradients.input_matrix);
    sum_tiles(arguments, &output, threads, gradients.output_matrix);
}

fn sum_sequences<A: Accumulator>(terms: &[A], sums: &mut [A]) {
    let count = sums.len();
    for (place, sum) in sums.iter_mut().enumerate() {
        *sum = terms.iter().skip(place).step_by(count).copied().sum();
    }
}

/// Sums `terms [B, tiles, steps, S]` over tiles into `sums [B, N, S]`.
fn sum_tiles<T: Scalar>(arguments: &Arguments<'_, T>, terms: &[T::Acc], threads: usize, sums: &mut [T]) {
    let (length, tiles, size) = (arguments.length, arguments.tiles(), arguments.state_size);
    let sums = Disjoint::new(sums);
    parallel::for_each_span(threads, arguments.lengths.len(), length, SPAN, |sequence, span| {
        let order = arguments.order(sequence);
        for step in span {
            let row = sequence * length + order.position(step);
            // SAFETY: a step of one sequence, which one task has to itself.
            let sums = unsafe { sums.part(row * size..(row + 1) * size) };
            for (state, sum) in sums.iter_mut().enumerate() {
                let tiles = sequence * tiles..(sequence + 1) * tiles;
                *sum = T::store(tiles.map(|tile| terms[(tile * length + step) * size + state]).sum());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const PADDING: f64 = f64::NAN;
    const X: [f64; 3] = [1.0, 2.0, PADDING];
    // So large that softplus changes nothing.
    const DELTA: [f64; 3] = [100.0, 200.0, PADDING];
    const B: [f64; 3] = [1.0, 3.0, PADDING];
    const C: [f64; 3] = [2.0, 1.0, PADDING];

    /// One channel with one state that does not decay.
    fn arguments(reverse: bool) -> Arguments<'static, f64> {
        let rows = |elements: &'static [f64]| Rows::new(elements, 3, 1);
        Arguments {
            x: rows(&X),
            delta: rows(&DELTA),
            state_matrix: &[0.0],
            input_matrix: rows(&B),
            output_matrix: rows(&C),
            skip: &[10.0],
            gate: None,
            delta_bias: None,
            lengths: &[2],
            length: 3,
            state_size: 1,
            reverse,
        }
    }

    #[test]
    fn a_sum_in_either_direction() {
        for (reverse, expected) in [(false, [210.0, 1320.0, 0.0]), (true, [2610.0, 1220.0, 0.0])] {
            let (mut out, mut states) = ([9.0; 3], [9.0; 1]);
            forward(&arguments(reverse), 1, &mut out, &mut states);
            assert_eq!((out, states), (expected, [0.0]));
        }
    }

    #[test]
    fn gradients_of_a_sum() {
        let (mut x, mut delta, mut input, mut output) = ([9.0; 3], [9.0; 3], [9.0; 3], [9.0; 3]);
        let (mut matrix, mut skip) = ([9.0], [9.0]);
        let gradients = Gradients {
            x: &mut x,
            delta: &mut delta,
            state_matrix: &mut matrix,
            input_matrix: &mut input,
            output_matrix: &mut output,
            skip: &mut skip,
            gate: &mut [],
            delta_bias: &mut [],
        };
        backward(Rows::new(&[1.0, 1.0, PADDING], 3, 1), &[0.0], &arguments(false), 1, gradients);
        assert_eq!((x, delta), ([310.0, 610.0, 0.0], [3.0, 6.0, 0.0]));
        assert_eq!((input, output), ([300.0, 400.0, 0.0], [100.0, 1300.0, 0.0]));
        assert_eq!((matrix, skip), ([20_000.0], [3.0]));
    }

    #[test]
    fn totals_of_lanes() {
        let rows = std::array::from_fn(|row| lanes(|lane| (row * LANES + lane) as f64));
        assert_eq!(totals(rows).0, std::array::from_fn(|row| (row * 256 + 120) as f64));
    }
}
