"""Hand-built files of builtin ops, for what Keras does not express: shared constants, several entries, odd readers."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from delegate_files import FileBuilder

OPS, OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


def grid(shape, num_bits=4, seed=0):
    """Small integers under one scale per index of the first axis."""
    rng = np.random.default_rng(seed)
    half = 2 ** (num_bits - 1) - 1
    scale = rng.uniform(0.01, 0.1, (shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    return rng.integers(-half, half + 1, shape).astype(np.float32) * scale


def floats(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Net(FileBuilder):
    """A file whose ops are called by what they compute; values are indices of tensors."""

    def entry(self, shape, dtype=np.float32):
        """The input of the current subgraph."""
        index = self.tensor(shape, dtype=dtype)
        self.graph.inputs = [index]
        return index

    def ends(self, *outputs, signature=None):
        """Closes the current subgraph."""
        self.graph.outputs = list(outputs)
        if signature is None:
            return
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = signature.encode(), len(self.model.subgraphs) - 1
        entry.inputs = [_map("x", index) for index in self.graph.inputs]
        entry.outputs = [_map(f"y{place}", index) for place, index in enumerate(outputs)]
        self.model.signatureDefs = [*(self.model.signatureDefs or ()), entry]

    def same(self, index, graph=0):
        """A tensor of the current subgraph on the buffer of one of another."""
        other = self.model.subgraphs[graph].tensors[index]
        mine = self.tensor(other.shape)
        self.graph.tensors[mine].type, self.graph.tensors[mine].buffer = other.type, other.buffer
        return mine

    def rows_of(self, index):
        return self.graph.tensors[index].shape[0]

    def dense(self, x, weight, bias=-1, activation=0):
        y = self.tensor([self.rows_of(x), self.rows_of(weight)])
        op = self.operator(OPS.FULLY_CONNECTED, [x, weight, bias], [y])
        op.builtinOptionsType, op.builtinOptions = OPTIONS.FullyConnectedOptions, schema.FullyConnectedOptionsT()
        op.builtinOptions.fusedActivationFunction = activation
        return y

    def add(self, x, constant):
        y = self.tensor(self.graph.tensors[x].shape)
        op = self.operator(OPS.ADD, [x, constant], [y])
        op.builtinOptionsType, op.builtinOptions = OPTIONS.AddOptions, schema.AddOptionsT()
        return y

    def gather(self, table, indices, axis=0):
        shape = list(self.graph.tensors[table].shape)
        shape[axis : axis + 1] = self.graph.tensors[indices].shape
        y = self.tensor(shape)
        op = self.operator(OPS.GATHER, [table, indices], [y])
        op.builtinOptionsType, op.builtinOptions = OPTIONS.GatherOptions, schema.GatherOptionsT()
        op.builtinOptions.axis = axis
        return y

    def lookup(self, table, indices):
        shape = [*self.graph.tensors[indices].shape, *self.graph.tensors[table].shape[1:]]
        y = self.tensor(shape)
        self.operator(OPS.EMBEDDING_LOOKUP, [indices, table], [y])
        return y


def _map(name, index):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry
