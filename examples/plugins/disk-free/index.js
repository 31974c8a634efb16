/**
 * How full a machine's disk is: a stream kind of one's own, `x-disk-free`, which policy, limits, metrics and the audit
 * trail know like any other; and a route that says how often it was asked for.
 *
 *     npx tunnel server --plugin tunnel-plugin-disk-free
 *
 *     const stream = await tunnel.open({ machine: 'home', kind: 'x-disk-free', parameters: { path: '/' } })
 */
import fp from 'fastify-plugin'
import { serveCommand, shellWord, TunnelError } from 'ssh-websocket-tunnel'

/** A JSON schema. */
export const optionsSchema = {
  type: 'object',
  properties: { maxPathLength: { type: 'integer', minimum: 1, default: 1_024 } },
  additionalProperties: false,
}

/**
 * @param {import('fastify').FastifyInstance} app
 * @param {{ maxPathLength: number }} options
 */
async function diskFree(app, { maxPathLength }) {
  let asked = 0

  app.forward.addKind('x-disk-free', (stream, context) => {
    const { path = '/' } = JSON.parse(stream.head.further ?? '{}')
    if (typeof path !== 'string' || !path.startsWith('/') || path.length > maxPathLength)
      throw new TunnelError('REQUEST_INVALID', 'path is not an absolute path', { hop: 'proxy' })
    asked++
    return serveCommand(stream, context, `df -P -- ${shellWord(path)}`)
  })

  app.get('/api/tunnel/disk-free', { onRequest: [app.limitByIp, app.requireRole('admin')] }, async () => ({
    asked,
  }))
}

export default fp(diskFree, { name: 'disk-free', fastify: '5.x', dependencies: ['tunnel-forward'] })
