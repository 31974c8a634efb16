import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import type { FastifyInstance, FastifyPluginAsync, RouteOptions } from 'fastify'
import { TunnelError } from '../protocol/codec/errors.ts'
import { doesNotStart, whyNot } from './errors.ts'
import { type CustomPlugin, metaOf, nameOf, type TunnelPlugin } from './plugin.ts'
import { PROVIDES } from './provides.ts'

/**
 * Registers the plugins of a server, each at its place: a built-in or the custom one that has its name, and the other
 * custom ones between the services and the routes.
 */
export class CustomPlugins {
  readonly #app: FastifyInstance
  readonly #custom: readonly CustomPlugin[]
  readonly #replacing = new Set<CustomPlugin>()
  /** The routes of custom plugins, each with whose it is. */
  readonly #routes = new Map<string, CustomPlugin>()
  #starting: CustomPlugin | undefined

  /** @throws {TunnelError} CONFIG_INVALID for one that is no plugin, or has the name of another */
  constructor(app: FastifyInstance, plugins: readonly (TunnelPlugin | CustomPlugin)[]) {
    this.#app = app
    app.addHook('onRoute', (route) => this.#noteRoute(route))
    this.#custom = plugins.map((given) => (typeof given === 'function' ? { plugin: given } : given))
    const names = new Set<string>()
    for (const custom of this.#custom) {
      const { plugin } = custom
      if (typeof plugin !== 'function') throw doesNotStart(called(custom), 'it is not a function')
      const name = nameOf(plugin)
      if (name !== undefined && names.has(name)) throw doesNotStart(name, 'it is there twice')
      if (name !== undefined) names.add(name)
    }
  }

  /** The built-in plugin of this name, or the custom one that takes its place, with the same options and its own. */
  async use<Options extends object>(
    name: string,
    builtIn: TunnelPlugin<Options>,
    options: Options,
  ): Promise<void> {
    const custom = this.#custom.find(({ plugin }) => nameOf(plugin) === name)
    if (custom === undefined) {
      await this.#app.register(builtIn as FastifyPluginAsync<object>, options)
      return
    }
    this.#replacing.add(custom)
    await this.#register(custom, { ...options, ...checkedOptions(custom) })
    const missing = (PROVIDES[name] ?? []).filter((decorator) => !this.#app.hasDecorator(decorator))
    if (missing.length > 0)
      throw doesNotStart(
        called(custom),
        `it takes the place of the built-in plugin and has to decorate ${missing.map((its) => `app.${its}`).join(' and ')}`,
      )
  }

  /** Those that take nobody's place, in their order. */
  async registerOthers(): Promise<void> {
    for (const custom of this.#custom)
      if (!this.#replacing.has(custom)) await this.#register(custom, checkedOptions(custom))
  }

  async #register(custom: CustomPlugin, options: object): Promise<void> {
    this.#starting = custom
    try {
      await this.#app.register(custom.plugin as FastifyPluginAsync<object>, options)
    } catch (error) {
      throw doesNotStart(called(custom), whyNot(error, this.#nameless()), error)
    } finally {
      this.#starting = undefined
    }
  }

  /** Fastify would blame the one that comes later, which is ours. */
  #noteRoute({ method, url, constraints }: RouteOptions): void {
    if (constraints !== undefined && Object.keys(constraints).length > 0) return
    for (const its of [method].flat()) {
      const route = `${its} ${url}`
      const custom = this.#routes.get(route)
      if (this.#starting !== undefined) this.#routes.set(route, this.#starting)
      else if (custom !== undefined)
        throw doesNotStart(called(custom), `${route} is a route of the proxy's own`)
    }
  }

  /** Those that others cannot name as their dependency. */
  #nameless(): string[] {
    return this.#custom.filter(({ plugin }) => metaOf(plugin) && nameOf(plugin) === undefined).map(called)
  }
}

/** Its options with the defaults of its schema. */
function checkedOptions(custom: CustomPlugin): object {
  const { plugin, options = {} } = custom
  if (plugin.optionsSchema === undefined) return options
  const complete = structuredClone(options)
  // As Fastify has it, for schemas of any maker.
  const ajv = new Ajv({ useDefaults: true, allErrors: true, strict: false })
  let check: ValidateFunction
  try {
    check = ajv.compile(plugin.optionsSchema)
  } catch (cause) {
    throw doesNotStart(
      called(custom),
      `its optionsSchema is not a JSON schema: ${(cause as Error).message}`,
      cause,
    )
  }
  if (check(complete)) return complete
  // What each branch of a choice would have, the choice itself says.
  const mistakes = (check.errors ?? []).filter(({ keyword }) => keyword !== 'const').map(mistakeText)
  throw new TunnelError(
    'CONFIG_INVALID',
    `the options of the plugin ${called(custom)} are wrong: ${mistakes.join('; ')}`,
    { hop: 'proxy' },
  )
}

function mistakeText({ instancePath, keyword, message = 'is wrong', params }: ErrorObject): string {
  const place = instancePath.split('/').slice(1).join('.')
  if (keyword === 'required')
    return `${[place, String(params.missingProperty)].filter(Boolean).join('.')} is missing`
  const what =
    keyword === 'additionalProperties' ? `there is no option ${String(params.additionalProperty)}` : message
  return place === '' ? what : `${place} ${what}`
}

/** What its user knows it by. */
function called({ plugin, from }: CustomPlugin): string {
  const name = typeof plugin === 'function' ? (nameOf(plugin) ?? plugin.name) : ''
  if (from !== undefined) return name === '' || name === 'default' ? from : `${name} (${from})`
  return name || 'without a name'
}
