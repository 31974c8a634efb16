/** Makes text from elsewhere safe for a terminal or a log: it cannot move the cursor or begin a new line. */
export function visible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant.
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '\ufffd')
}

/** The columns of a terminal; what is no terminal has no end of them. */
export function columnsOf(stream: NodeJS.WriteStream = process.stdout): number {
  return stream.isTTY ? Math.max(10, stream.columns || DEFAULT_COLUMNS) : Number.POSITIVE_INFINITY
}

const DEFAULT_COLUMNS = 80

/** Whether a terminal of this locale (POSIX, section 8.2) shows `text` as it is meant. */
export function canShow(text: string, env: NodeJS.ProcessEnv = process.env): boolean {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || ''
  return /utf-?8/i.test(locale) || /^[\x20-\x7e]*$/.test(text)
}

/** How long ago an ISO time was, in its largest unit: '3 min'. */
export function age(since: string, now = Date.now()): string {
  return duration(Math.max(0, now - Date.parse(since)))
}

export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** '12.3 MB'; decimal, as disks and networks are sold. */
export function byteText(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1_000
    unit++
  }
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[unit]}`
}

/** Colours where the stream is a terminal that wants them; plain text elsewhere. */
export function paint(
  stream: Pick<NodeJS.WriteStream, 'isTTY'>,
  env: NodeJS.ProcessEnv = process.env,
): Record<'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan', (text: string) => string> {
  const coloured = stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb'
  const wrap = (on: number, off: number) => (text: string) =>
    coloured ? `\u001b[${on}m${text}\u001b[${off}m` : text
  return {
    bold: wrap(1, 22),
    dim: wrap(2, 22),
    green: wrap(32, 39),
    yellow: wrap(33, 39),
    red: wrap(31, 39),
    cyan: wrap(36, 39),
  }
}
