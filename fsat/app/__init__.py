"""The tagger as a local web page.

It knows how a result looks on a page: labels with bars, a spectrogram with events on it, a player. In come a bundle and
the sounds that somebody drops or records; out go cards of HTML in which every name is escaped. Gradio does the rest.
"""
