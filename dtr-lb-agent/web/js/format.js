// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `1,234,567`; `12.3 M` from ten million on. */
export function count(number) {
  if (number >= 1e10) return `${(number / 1e9).toFixed(1)} G`;
  if (number >= 1e7) return `${(number / 1e6).toFixed(1)} M`;
  return whole.format(number);
}

/** The same for a narrow column: `999,999`, `1.23 M`. */
export function compact(number) {
  return number >= 999_999.5 && number < 1e7 ? `${(number / 1e6).toFixed(2)} M` : count(number);
}

/** A rate a second; small ones keep a digit. */
export function rate(number) {
  if (number === null) return "–";
  if (number > 0 && number < 0.05) return "<0.1";
  if (number < 9.95) return number.toFixed(1).replace(/\.0$/, "");
  if (number >= 1e6) return `${(number / 1e6).toFixed(number < 1e7 ? 2 : 1)} M`;
  if (number >= 1e4) return `${(number / 1e3).toFixed(1)} k`;
  return whole.format(number);
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes by powers of 1000, as networks count. */
export function bytes(number) {
  if (number === null) return "–";
  let unit = 0;
  while (number >= 999.5 && unit < UNITS.length - 1) {
    number /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return `${number.toFixed(digits)} ${UNITS[unit]}`;
}

/** How long ago, or how long it lasts: `45 s`, `12 min`, `3 h 20 min`, `5 d`. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

export function clock(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  const words = date.toLocaleTimeString("en-GB");
  return today ? words : `${date.toLocaleDateString("en-CA")} ${words}`;
}

/** `18:47`, with the day where that is another one. */
export function minute(time, now) {
  const date = new Date(time);
  const words = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return date.toDateString() === new Date(now).toDateString() ? words : `${date.toLocaleDateString("en-CA")} ${words}`;
}

/** A part of the whole, `85 %`; never 100 % before it is. */
export function share(part) {
  return `${part < 1 ? Math.min(99, Math.round(part * 100)) : 100} %`;
}

/** Milliseconds: `0.4 ms`, `12 ms`, `1.3 s`. */
export function latency(milliseconds) {
  if (milliseconds >= 999.5) return `${(milliseconds / 1000).toFixed(1)} s`;
  return milliseconds < 9.95 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}

/** `10.0.0.1:80`, `[2001:db8::1]:80`. */
export function end(address, port) {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}
