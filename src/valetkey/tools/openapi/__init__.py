"""Operations of a FastAPI app or a spec."""
