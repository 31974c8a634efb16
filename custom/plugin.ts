import type { FastifyInstance } from 'fastify'

/**
 * A plugin of the proxy: an ordinary Fastify plugin, async or with a callback. One signature for both, because TypeScript
 * gives the parameters of a function no types from a union of two.
 */
export type TunnelPlugin<Options extends object = object> = ((
  app: FastifyInstance,
  options: Options,
  done: (error?: Error) => void,
) => void | Promise<void>) & {
  /** What its options must be; a JSON schema, whose defaults are filled in. Without one nothing is checked. */
  optionsSchema?: object
}

/** A custom plugin, and what it is started with. */
export interface CustomPlugin {
  // biome-ignore lint/suspicious/noExplicitAny: each has options of its own, which its schema checks.
  plugin: TunnelPlugin<any>
  /** @default {} */
  options?: object
  /** Where it was found, for what is said of it. */
  from?: string
}

/** What fastify-plugin leaves at a plugin. */
export interface PluginMeta {
  name?: string
}

export function metaOf(plugin: TunnelPlugin): PluginMeta | undefined {
  return (plugin as unknown as Record<symbol, PluginMeta | undefined>)[Symbol.for('plugin-meta')]
}

/** fastify-plugin makes up a name where none is given, and another one in each process. */
const MADE_UP = /-auto-\d+$/

/** The name under which others may name it as their dependency; undefined where it has none. */
export function nameOf(plugin: TunnelPlugin): string | undefined {
  const name = metaOf(plugin)?.name
  return name === undefined || MADE_UP.test(name) ? undefined : name
}
