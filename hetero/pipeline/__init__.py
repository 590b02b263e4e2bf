"""The stages of a plan and the links between them: `LocalPipeline` in this process, `ActorPipeline` on Ray."""
