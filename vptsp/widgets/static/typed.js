// A typed array over a copy of the bytes that a trait holds (a DataView), which may begin anywhere.
export function array(Type, view) {
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// The numbers 0 to n - 1.
export function range(n) {
  return [...Array(n).keys()];
}

// The numbers below n that pass a test.
export function which(n, test) {
  const passed = [];
  for (let i = 0; i < n; i++) if (test(i)) passed.push(i);
  return passed;
}
