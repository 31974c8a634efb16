import { type Hop, TunnelError } from '../protocol/codec/errors.ts'

/** One mistake in a configuration, complete enough to be put right without looking anything up. */
export interface Problem {
  kind: 'unknown' | 'value' | 'missing' | 'rule' | 'source'
  /** The setting, as `section.name`; empty where a whole source is at fault. */
  path: string
  /** The value given, as text; secrets masked, absent where none was given. */
  value?: string
  /** Where it came from: `profile x`, `file /x`, `environment X`, `flag --x`, `default`. */
  source: string
  /** What is wrong, and what is allowed. */
  reason: string
}

/** CONFIG_INVALID with every mistake there is. */
export class ConfigError extends TunnelError {
  readonly problems: readonly Problem[]

  /** `hop`: whose configuration it is. */
  constructor(problems: readonly Problem[], hop: Hop) {
    const count = problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`
    super('CONFIG_INVALID', `${count} in the configuration: ${problems.map(problemText).join('; ')}`, {
      hop,
      suggestion: '`tunnel config` shows the settings and where each came from',
    })
    this.problems = problems
  }
}

function problemText({ path, value, source, reason }: Problem): string {
  if (path === '') return `${source}: ${reason}`
  return `${path}${value === undefined ? '' : ` = ${value}`} (${source}): ${reason}`
}
