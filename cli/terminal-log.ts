import { visible } from './output.ts'

interface LogLine {
  level?: string
  message?: string
  err?: { message?: string }
  context?: Record<string, unknown>
}

/** The proxy's log for a person at a terminal: what a line says, without what only programs read. */
export function terminalLog(write: (text: string) => void = (text) => void process.stderr.write(text)) {
  return { write: (line: string) => write(asText(line)) }
}

function asText(line: string): string {
  let read: LogLine
  try {
    read = JSON.parse(line) as LogLine
  } catch {
    return line
  }
  const { level = 'WARN', message = '', err } = read
  const why = err?.message === undefined ? '' : `: ${err.message}`
  const word = level === 'WARN' ? 'warning' : level.toLowerCase()
  return `${word}: ${visible(message + why)}\n`
}
