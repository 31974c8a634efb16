import { type LogOutput, logTo } from '../plugins/logging/output.ts'
import { visible } from './output.ts'

interface LogLine {
  timestamp?: string
  level?: string
  message?: string
  userId?: string
  context?: Record<string, unknown> & { err?: { message?: string } }
}

/** What a terminal has room for of one value, in characters. */
const MAX_VALUE = 120

/** The proxy's log for a person at a terminal: what needs attention, as sentences. It blocks no more than any other log. */
export function briefLog(): LogOutput {
  return logTo('stderr', asSentence)
}

/** The same for a person who has asked for more: everything, a line for each. */
export function wholeLog(): LogOutput {
  return logTo('stdout', asDetails)
}

/** What a line says, without what only programs read. */
export function asSentence(line: string): string {
  const read = parsed(line)
  if (read === undefined) return line
  const { level = 'WARN', message = '', context: { err } = {} } = read
  const why = err?.message === undefined ? '' : `: ${err.message}`
  const word = level === 'WARN' ? 'warning' : level.toLowerCase()
  return `${word}: ${visible(message + why)}\n`
}

/** `14:03:07 INFO stream over (alice, machine=home, kind=exec)` */
export function asDetails(line: string): string {
  const read = parsed(line)
  if (read === undefined) return line
  const { timestamp = '', level = '', message = '', userId, context: { err, ...context } = {} } = read
  const why = err?.message === undefined ? '' : `: ${err.message}`
  const values = Object.entries(context).map(([name, value]) => {
    const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
    return `${name}=${text.slice(0, MAX_VALUE)}`
  })
  const details = [...(userId === undefined ? [] : [userId]), ...values]
  const rest = details.length === 0 ? '' : ` (${details.join(', ')})`
  return `${visible(`${timestamp.slice(11, 19)} ${level} ${message}${why}${rest}`)}\n`
}

function parsed(line: string): LogLine | undefined {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return undefined
  }
}
