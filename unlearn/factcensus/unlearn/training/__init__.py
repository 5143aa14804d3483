"""One model, one method, one dose: the loop and everything that a step needs."""
