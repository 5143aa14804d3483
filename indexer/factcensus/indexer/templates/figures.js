// Saves a figure as PNG, drawn from the SVG file beside the button at twice its size. Pages of the service and reports include it.
for (const button of document.querySelectorAll("button[data-png]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const file = button.parentElement.querySelector('a[download$=".svg"]');
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      const link = document.createElement("a");
      link.download = file.download.replace(/svg$/, "png");
      link.href = canvas.toDataURL("image/png");
      link.click();
    });
    image.src = file.href;
  });
}
