import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { SettingsChange } from '../settings/index.ts'
import { changeRefused, patchOfOne, versionChanged, versionMissing } from './errors.ts'
import * as schemas from './schemas.ts'

/** A change of all that may be changed is not larger. */
const MAX_BODY_BYTES = 262_144

/** The settings that hold, and changes of them while the proxy runs. */
export async function configRoutes(app: FastifyInstance): Promise<void> {
  const { settings, cluster } = app
  // Whoever may not asks at the price of any request.
  const onlyAdmins = [app.requireUser, app.limitByUser, app.requireRole('admin')]
  const routes = app.withTypeProvider<TypeBoxTypeProvider>()
  // RFC 7396, section 4.
  const json = { parseAs: 'string' as const, bodyLimit: MAX_BODY_BYTES }
  app.addContentTypeParser('application/merge-patch+json', json, app.parseJson)
  /** RFC 9110, section 8.8.3. */
  const etag = () => `"${settings.version}"`

  routes.get(
    '/api/tunnel/config',
    { schema: schemas.getConfig, onRequest: onlyAdmins },
    async (_request, reply) => {
      reply.header('etag', etag()).header('cache-control', 'no-store')
      return { settings: settings.describe() }
    },
  )

  routes.patch(
    '/api/tunnel/config',
    {
      schema: schemas.patchConfig,
      onRequest: [...onlyAdmins, app.requireRecord],
      bodyLimit: MAX_BODY_BYTES,
    },
    async ({ user, body, headers, id: correlationId, log }, reply) => {
      if (cluster?.isWorker) throw patchOfOne()
      const { 'if-match': wanted } = headers
      if (wanted === undefined) throw versionMissing()
      // Nothing is awaited from here on: of two changes of one version the second is refused.
      if (wanted !== '*' && wanted !== etag()) throw versionChanged()
      const change = changed(() => settings.patch(body as Record<string, unknown>))
      const told = settings.describe().filter(({ path }) => change.changed.includes(path))
      const details = Object.fromEntries(told.map(({ path, value }) => [path, JSON.stringify(value)]))
      log.info({ context: { changed: change.changed } }, 'settings were changed')
      app.audit.record({ event: 'config.changed', userId: user.sub, correlationId, details })
      reply.header('etag', etag()).header('cache-control', 'no-store')
      return change
    },
  )
}

function changed(change: () => SettingsChange): SettingsChange {
  try {
    return change()
  } catch (error) {
    throw error instanceof TunnelError && error.code === 'CONFIG_INVALID' ? changeRefused(error) : error
  }
}
