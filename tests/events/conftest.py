from __future__ import annotations

import hypothesis

# A busy machine is no failure: how long one draw takes says nothing of the code.
hypothesis.settings.register_profile("feedmill", deadline=None)
hypothesis.settings.load_profile("feedmill")
