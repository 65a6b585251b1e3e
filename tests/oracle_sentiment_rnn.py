"""The LSTM sentence classifier in plain PyTorch, as it was before patterns, with what it had wrong."""

from __future__ import annotations

import torch
from torch import nn


class OldSentimentRNN(nn.Module):
    """Two directions are taken for granted in `hidden * 2` and in the two last states, a batch in `squeeze`."""

    def __init__(self, words, embedding, hidden, outputs, layers, bidirectional, dropout):
        super().__init__()
        self.embedding = nn.Embedding(words, embedding)
        self.rnn = nn.LSTM(
            embedding, hidden, num_layers=layers, bidirectional=bidirectional, dropout=dropout if layers > 1 else 0
        )
        self.fc = nn.Linear(hidden * 2, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens):
        _, (hidden, _) = self.rnn(self.dropout(self.embedding(tokens)))
        last = self.dropout(torch.cat([hidden[-2, :, :], hidden[-1, :, :]], dim=1))
        return self.fc(last.squeeze(0))
