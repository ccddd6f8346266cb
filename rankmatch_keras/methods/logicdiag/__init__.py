"""LogicDiag: the method, and the diagnosis that repairs its pseudo-labels."""

from rankmatch_keras.methods.logicdiag.method import LogicDiag as LogicDiag
