import type { Command } from 'commander'
import { UsageError } from './failure.ts'

export interface AskedPlugin {
  path: string
  options: Record<string, unknown>
}

/** Reads `--plugin FILE` and the `--plugin-option a.b=value` that follow it, while `made` is parsed. */
export function pluginsAskedFor(made: Command): readonly AskedPlugin[] {
  const asked: AskedPlugin[] = []
  made.on('option:plugin', (path: string) => {
    asked.push({ path, options: {} })
  })
  made.on('option:plugin-option', (text: string) => {
    const options = asked.at(-1)?.options
    if (options === undefined)
      throw new UsageError(`--plugin-option ${text} belongs behind the --plugin whose option it is`)
    assign(options, text)
  })
  return asked
}

function assign(options: Record<string, unknown>, text: string): void {
  const [, path = '', value = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? []
  const names = path.split('.')
  if (names.some((name) => name === '' || name === '__proto__'))
    throw new UsageError(`an option of a plugin is given as NAME=VALUE, not "${text}"`)
  const last = names.pop() as string
  let at = options
  for (const name of names) {
    if (typeof at[name] !== 'object' || at[name] === null) at[name] = {}
    at = at[name] as Record<string, unknown>
  }
  at[last] = parsed(value)
}

/** JSON where it is some; else it is text. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}
