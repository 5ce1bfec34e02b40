// What the agent is asked. Every failure is an error whose message says what happened.

const LIMIT = 8000;

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(LIMIT), ...options });
  } catch (error) {
    throw new Error(error.name === "TimeoutError" ? `no answer within ${LIMIT / 1000} s` : "no connection");
  }
  const text = await answer.text();
  if (!answer.ok) throw new Refused(answer.status, reason(text) || answer.statusText || `status ${answer.status}`);
  return JSON.parse(text);
}

/** The agent answered, and said no. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Errors are `{"error": "…"}` or words. */
function reason(text) {
  try { return JSON.parse(text).error ?? text; } catch { return text; }
}

function post(path, body, method = "POST") {
  return ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

export const status = () => ask("/v1/status");
export const history = () => ask("/v1/history");
export const events = (since, limit) => ask(`/v1/events?since=${since}&limit=${limit}`);
export const verdicts = () => ask("/v1/verdicts");
export const session = () => ask("/v1/session");
export const login = (token) => post("/v1/session", { token });
export const logout = () => post("/v1/session", {}, "DELETE");
export const changeReplica = (change) => post("/v1/replica", change);
