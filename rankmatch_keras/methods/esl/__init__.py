"""ESL: the method, and the parts of classes that it contrasts."""

from rankmatch_keras.methods.esl.method import ESL as ESL
