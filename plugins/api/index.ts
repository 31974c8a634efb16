import SerializerSelector from '@fastify/fast-json-stringify-compiler'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Machine } from '../../dial/machine.ts'
import { credentialRoutes } from './credentials.ts'
import { allowOrigins } from './cross-origin.ts'
import { agentMayNotChange } from './errors.ts'
import { policyRoutes } from './policy.ts'
import * as schemas from './schemas.ts'
import { oncePerSchema } from './serializers.ts'

/** Fastify's `schemaController.compilersFactory.buildSerializer`, of all proxies in this process. */
export const buildSerializer = oncePerSchema(SerializerSelector())

export interface ApiOptions {
  /** Origins whose pages may ask for what a link from a browser needs, beside the proxy's own. */
  origins: readonly string[]
}

async function apiPlugin(app: FastifyInstance, { origins }: ApiOptions): Promise<void> {
  // Before anything that refuses: a page has to be able to read why.
  allowOrigins(app, origins)
  app.addHook('onRequest', app.limitByIp)
  await app.register(credentialRoutes)
  await app.register(ownRoutes)
  await app.register(policyRoutes)
}

/** What users may ask about their own machines and key; everything is of the caller, by construction. */
async function ownRoutes(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', app.requireUser)
  app.addHook('onRequest', app.limitByUser)
  const routes = app.withTypeProvider<TypeBoxTypeProvider>()

  /** Whoever has a machine has its agent's token, and must not be able to vouch for the machine with it. */
  const ownerOnly = async (request: FastifyRequest): Promise<void> => {
    if (request.user.roles.includes('agent')) throw agentMayNotChange()
  }

  const changes = [ownerOnly, app.requireRecord]

  routes.get('/api/tunnel/machines', { schema: schemas.listMachines }, async ({ user }) =>
    app.machines.list(user),
  )

  routes.get('/api/tunnel/machines/:machine', { schema: schemas.getMachine }, async ({ user, params }) =>
    app.machines.get(user, params.machine),
  )

  routes.delete(
    '/api/tunnel/machines/:machine',
    { schema: schemas.forgetMachine, onRequest: changes },
    async ({ user, params, id: correlationId }, reply) => {
      const { name: machine } = app.machines.own(user, params.machine)
      await app.machines.forget(user.sub, machine)
      app.audit.record({ event: 'machine.forgotten', userId: user.sub, machine, correlationId })
      return reply.code(204).send(null)
    },
  )

  routes.post(
    '/api/tunnel/machines/:machine/trust',
    { schema: schemas.trustMachine, onRequest: changes },
    async ({ user, params, body, id: correlationId }) => {
      const { name } = app.machines.own(user, params.machine)
      const before = app.machines.get(user, name)
      const machine = await app.machines.trust(user.sub, name, body?.hostKeys)
      const details = { hostKeys: nameAll(machine), before: nameAll(before) }
      app.audit.record({ event: 'machine.trusted', userId: user.sub, machine: name, correlationId, details })
      return machine
    },
  )

  routes.get('/api/tunnel/ssh/key', { schema: schemas.sshKey }, async ({ user }) => {
    const [{ publicKey, keyId } = { publicKey: '', keyId: '' }, ...formerKeys] = app.ssh.publicKeys(user.sub)
    return { publicKey, keyId, formerKeys }
  })
}

function nameAll({ hostKeys }: Machine): string {
  return hostKeys.map(({ fingerprint }) => fingerprint).join(' ')
}

export default fp(apiPlugin, {
  name: 'tunnel-api',
  fastify: '5.x',
  encapsulate: true,
  dependencies: [
    'tunnel-audit',
    'tunnel-metrics',
    'tunnel-state',
    'tunnel-audit-guard',
    'tunnel-auth',
    'tunnel-policy',
    'tunnel-ratelimit',
    'tunnel-machines',
    'tunnel-ssh',
  ],
})
