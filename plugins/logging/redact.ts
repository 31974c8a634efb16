/** What stands where a secret stood. */
const REDACTED = '[redacted]'

/** Names under which a secret travels: whatever its form, the value is not logged. */
const SECRET_NAMES =
  /^(proxy-)?authorization$|^(set-)?cookie$|token$|^ticket$|secret$|passw(or)?d$|passphrase$|private_?key$|api_?key$/i

/**
 * Secrets that give themselves away in running text: bearer credentials, signed tokens, query parameters, private
 * keys. Matched on the finished line, so that no message, stack or foreign library's object is a way around it.
 */
const SECRET_TEXTS: readonly [RegExp, string][] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, REDACTED],
  [/\b(Bearer|Basic) +[\w.~+/:-]+=*/gi, `$1 ${REDACTED}`],
  [/([?&](?:ticket|token|access_token|refresh_token)=)[^&\s"'\\#]+/gi, `$1${REDACTED}`],
]

/**
 * A run of what tokens are made of, with a dot in it. It begins where no such character stands before, so that each
 * character is looked at once: a line that a stranger has made up must not cost more than its length.
 */
const DOTTED = /(?<![\w-])[\w-]+(?:\.[\w-]*)+/g
/** JSON in base64url begins so: a signed token's header (RFC 7519, section 3). */
const TOKEN_START = 'eyJ'

function hideToken(run: string): string {
  const at = run.indexOf(TOKEN_START)
  return at < 0 || run.indexOf('.', at) < 0 ? run : `${run.slice(0, at)}${REDACTED}`
}

/** A finished line without the secrets in it; stays JSON. */
export function redactText(line: string): string {
  let text = line.includes(TOKEN_START) ? line.replace(DOTTED, hideToken) : line
  for (const [pattern, stead] of SECRET_TEXTS) text = text.replace(pattern, stead)
  return text
}

const MAX_DEPTH = 6

/** What may be logged of `value`: errors as plain objects with their causes, secrets by name left out, no deeper than is useful. */
export function loggable(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return typeof value === 'bigint' ? String(value) : value
  if (depth === MAX_DEPTH) return '[deeper]'
  if (value instanceof Error) return loggableError(value, depth)
  if (value instanceof Date) return value
  // Bytes are payload or key material; only how many there are is of interest.
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (Array.isArray(value)) return value.map((item) => loggable(item, depth + 1))
  const plain: Record<string, unknown> = {}
  for (const [name, inner] of Object.entries(value)) {
    const isHidden = SECRET_NAMES.test(name) && inner !== undefined && inner !== null
    plain[name] = isHidden ? REDACTED : loggable(inner, depth + 1)
  }
  return plain
}

function loggableError(error: Error, depth: number): Record<string, unknown> {
  const { code } = error as { code?: unknown }
  return {
    type: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: loggable(error.cause, depth + 1) }),
    ...(error instanceof AggregateError ? { errors: loggable(error.errors, depth + 1) } : {}),
  }
}
