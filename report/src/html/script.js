"use strict";
// Search in the table of cases. Everything else works without scripts.
document.querySelectorAll("[data-search]").forEach(function (box) {
  var input = document.createElement("input");
  input.type = "search";
  input.placeholder = box.dataset.search;
  input.setAttribute("aria-label", box.dataset.search);
  box.appendChild(input);
  var rows = document.querySelectorAll("[data-name]");
  input.addEventListener("input", function () {
    var wanted = input.value.trim().toLowerCase();
    rows.forEach(function (row) {
      row.classList.toggle("hidden", wanted !== "" && !row.dataset.name.toLowerCase().includes(wanted));
    });
  });
});
