// The maps and captions of one frame.

const checkpointIndex = ({ run, checkpoint }, frame) => checkpoint ?? Math.max(0, run.at[frame]);

function paintTexts(view) {
  const { titles, labels, classes } = view.data;
  const names = view.columns.map((column) => column.name);
  view.board.lines.forEach((line, n) => {
    const captions = view.columns.map((column) => {
      if (!column.captioned || !column.run.predicted) return ["", null];
      const index = checkpointIndex(column, view.frame) * column.run.numImages + n;
      const predicted = column.run.predicted[index];
      return [`${classes[predicted]} ${Math.round(100 * column.run.confidence[index])}%`, predicted === labels[n]];
    });
    paintCaptions(line, n, titles[n] ?? "", names, captions);
  });
}

// One map of image n at a checkpoint into `into`; `specific` subtracts the average map of many images.
function fill(into, { values, scales, average, numImages, numMaps, length, times }, map, checkpoint, n, specific) {
  const index = (checkpoint * numImages + n) * numMaps + map;
  const step = (scales[index] / numLevels(values)) * times;
  const mean = (checkpoint * numMaps + map) * length;
  for (let j = 0; j < length; j++) {
    into[j] = values[index * length + j] * step - (specific ? average[mean + j] * times : 0);
  }
}

// Cell by cell of a common grid, from the patch of each map that covers the cell
function subtract(into, [plus, minus]) {
  const at = ({ column, patches, factor }, cell) => column.values[patches[cell]] * factor;
  for (let cell = 0; cell < into.length; cell++) into[cell] = at(plus, cell) - at(minus, cell);
}

function fillLine(view, frame, n, specific) {
  for (const column of view.columns) {
    if (column.sides) subtract(column.values, column.sides);
    else fill(column.values, column.run, column.map, checkpointIndex(column, frame), n, specific);
  }
}

// The largest magnitude in all frames, of maps and of the difference, so that legends do not change with the slider.
function rangesOf(view, specific) {
  const maximum = { map: 0, difference: 0 };
  for (let frame = 0; frame <= lastFrame(view); frame++) {
    for (let n = 0; n < view.images.shape[0]; n++) {
      fillLine(view, frame, n, specific);
      for (const column of view.columns) {
        const name = column.sides ? "difference" : "map";
        for (const value of column.values) if (Math.abs(value) > maximum[name]) maximum[name] = Math.abs(value);
      }
    }
  }
  return maximum;
}

function paintMaps(view) {
  const { view: what, overlay } = view.settings;
  view.board.lines.forEach((line, n) => {
    fillLine(view, view.frame, n, what === "specific");
    line.cells.forEach((cell, i) => {
      paintMap(cell.map, view.columns[i].values, scaleOf(view, view.columns[i]));
      layOver(cell.image, cell.map, overlay);
    });
  });
}
