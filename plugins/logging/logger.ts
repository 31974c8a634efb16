import pino, { type DestinationStream, type Logger } from 'pino'
import type { LogOptions } from './options.ts'
import { loggable, redactText } from './redact.ts'

/** What a line says beside its context; whatever else is logged goes into `context`. */
const OWN_FIELDS: ReadonlySet<string> = new Set(['userId', 'connectionId', 'correlationId', 'context'])

/** What a child logger was given beyond those fields. */
const inherited: unique symbol = Symbol('inherited context')

type Fields = Record<string, unknown>
interface WithInherited {
  [inherited]?: Fields
}

/**
 * JSON lines as `contract.md` has them: timestamp, level, message, userId, connectionId, correlationId, context.
 * Setting `level` on it holds at once for every child that has no level of its own.
 */
export function createLogger(options: LogOptions, stream: DestinationStream): Logger {
  const logger = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'message',
      timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
      formatters: {
        // The contract has five levels, and Fastify logs FATAL in places.
        level: (label) => ({ level: label === 'fatal' ? 'ERROR' : label.toUpperCase() }),
        log: shape,
      },
      // Errors are shaped with everything else.
      serializers: { err: (value: unknown) => value },
      mixin: (_fields, _level, from) => ({ ...(from as unknown as WithInherited)[inherited] }),
      mixinMergeStrategy: (fields, fromParents) => ({ ...(fromParents as Fields), ...(fields as Fields) }),
      hooks: { streamWrite: redactText },
    },
    stream,
  )
  shapeChildren(logger)
  return logger
}

/** Own fields as they are, all others inside `context`. */
function shape(fields: Fields): Fields {
  const line: Fields = {}
  const context: Fields = {}
  for (const [name, value] of Object.entries(fields)) {
    if (!OWN_FIELDS.has(name)) context[name] = value
    else if (name === 'context' && typeof value === 'object' && value !== null) Object.assign(context, value)
    else line[name] = loggable(value)
  }
  if (Object.keys(context).length > 0) line.context = loggable(context)
  return line
}

/** Children inherit from their parent by prototype, so this one method serves all of them. */
function shapeChildren(logger: Logger): void {
  const child = logger.child
  const shaped = function (
    this: WithInherited,
    bindings: Fields,
    options?: Parameters<Logger['child']>[1],
  ): Logger {
    const own: Fields = {}
    const rest: Fields = { ...this[inherited] }
    for (const [name, value] of Object.entries(bindings)) {
      if (name !== 'context' && OWN_FIELDS.has(name)) own[name] = value
      else rest[name] = value
    }
    const made = child.call(this as unknown as Logger, own, options) as unknown as WithInherited
    if (Object.keys(rest).length > 0) made[inherited] = rest
    return made as unknown as Logger
  }
  logger.child = shaped as unknown as Logger['child']
}
