"""The word language model in plain PyTorch, as it was before patterns: sizes by position, `view` twice."""

from __future__ import annotations

from torch import nn


class OldLanguageModel(nn.Module):
    """Embedding, recurrent layers, linear decoder; `recurrent` is LSTM in the original."""

    def __init__(self, words, embedding, hidden, layers, dropout=0.5, recurrent=nn.LSTM, **options):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(words, embedding)
        self.rnn = recurrent(embedding, hidden, layers, dropout=dropout, **options)
        self.decoder = nn.Linear(hidden, words)

    def forward(self, tokens, state):
        features, state = self.rnn(self.drop(self.encoder(tokens)), state)
        features = self.drop(features)
        scores = self.decoder(features.view(features.size(0) * features.size(1), features.size(2)))
        return scores.view(features.size(0), features.size(1), scores.size(1)), state
