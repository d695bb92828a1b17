() => {
  // A click or an arrow key on a spectrogram moves its player; the player moves the line on the spectrogram.
  const player = (figure) => figure.closest(".fsat-card").querySelector("audio");
  const seek = (audio, seconds) => {
    if (Number.isFinite(audio.duration)) audio.currentTime = Math.min(Math.max(seconds, 0), audio.duration);
  };
  document.addEventListener("click", (event) => {
    const figure = event.target.closest?.(".fsat-figure");
    if (!figure) return;
    const box = figure.getBoundingClientRect(), audio = player(figure);
    seek(audio, ((event.clientX - box.left) / box.width) * audio.duration);
  });
  document.addEventListener("keydown", (event) => {
    const figure = event.target.closest?.(".fsat-figure");
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!figure || !step) return;
    event.preventDefault();
    seek(player(figure), player(figure).currentTime + (step * player(figure).duration) / 50);
  });
  document.addEventListener("timeupdate", (event) => {
    const cursor = event.target.closest?.(".fsat-card")?.querySelector(".fsat-cursor");
    if (!cursor) return;
    cursor.style.opacity = 1;
    cursor.style.left = `${(100 * event.target.currentTime) / event.target.duration}%`;
  }, true);
}
