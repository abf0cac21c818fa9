"""The measured process, both ends of its pipe: protocol, process and session outside, main and measure inside."""
