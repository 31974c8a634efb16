import { visible } from './output.ts'
import { tellAside } from './prose.ts'

interface Style {
  /** 'tunnel use'. */
  command: string
  json: boolean
}

let style: Style = { command: 'tunnel', json: false }

/** Says how the command that runs wants its warnings told. */
export function warnAs(given: Style): void {
  style = given
}

/** Tells of what is wrong and ends nothing: one line on stderr, which with --json is one object, as of errors. */
export function warn(code: string, message: string): void {
  const { command, json } = style
  if (json) process.stderr.write(`${JSON.stringify({ warning: { command, code, message } })}\n`)
  else tellAside(`${command}: warning: ${visible(message)} (${code})\n`)
}
