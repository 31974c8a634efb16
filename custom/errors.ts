import { TunnelError } from '../protocol/codec/errors.ts'

/** @param what the plugin, as its user knows it */
export function doesNotStart(what: string, why: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', `the plugin ${what} did not start: ${why}`, {
    cause,
    hop: 'proxy',
  })
}

/**
 * What Fastify and avvio throw of plugins, in words that say what to do; anything else in the words of its thrower.
 * @param nameless plugins that fastify-plugin was given no name for
 */
export function whyNot(error: unknown, nameless: readonly string[]): string {
  const { code, message = String(error) } = error as { code?: unknown; message?: string }
  switch (code) {
    case 'FST_ERR_PLUGIN_VERSION_MISMATCH':
      return `it is made for another version of Fastify (${message}); say { fastify: '5.x' } once it works with that`
    case 'FST_ERR_PLUGIN_DEPENDENCY_NOT_REGISTERED':
      return `${message}; one that is added stands before those that need it, and its name is the one given to fastify-plugin${
        nameless.length > 0 ? ` (${nameless.join(' and ')} has none: fp(plugin, { name: '…' }))` : ''
      }`
    case 'FST_ERR_PLUGIN_NOT_PRESENT_IN_INSTANCE':
      return `${message}; docs/PLUGINS.md lists what the proxy decorates`
    case 'FST_ERR_PLUGIN_TIMEOUT':
    case 'AVV_ERR_PLUGIN_EXEC_TIMEOUT':
      return 'it was not ready in time: an async plugin has to return, one with a callback has to call it'
    case 'FST_ERR_PLUGIN_INVALID_ASYNC_HANDLER':
      return 'it is async and takes a callback too; it may do one of both'
    default:
      return message
  }
}
