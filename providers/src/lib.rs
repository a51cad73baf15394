//! Model HTTP clients, limiter, transcripts, scripted and mock models.
