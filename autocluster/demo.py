def run(bindir, mode, keep): raise NotImplementedError
