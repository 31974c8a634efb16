import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { agentMayNotChange } from './errors.ts'

interface MachineParams {
  Params: { machine: string }
}

/** What a user may ask about his own machines and key; everything is of the caller, by construction. */
async function apiPlugin(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', app.limitByIp)
  app.addHook('onRequest', app.requireUser)

  app.get('/api/tunnel/machines', async (request) => app.machines.list(request.user.sub))

  app.get<MachineParams>('/api/tunnel/machines/:machine', async (request) =>
    app.machines.get(request.user.sub, request.params.machine),
  )

  /** Whoever has a machine has its agent's token, and must not be able to vouch for the machine with it. */
  const ownerOnly = async (request: FastifyRequest): Promise<void> => {
    if (request.user.roles.includes('agent')) throw agentMayNotChange()
  }

  app.delete<MachineParams>(
    '/api/tunnel/machines/:machine',
    { onRequest: ownerOnly },
    async (request, reply) => {
      await app.machines.forget(request.user.sub, request.params.machine)
      const { user, params, id: correlationId } = request
      app.audit.record({
        event: 'machine.forgotten',
        userId: user.sub,
        machine: params.machine,
        correlationId,
      })
      return reply.code(204).send()
    },
  )

  app.post<MachineParams>(
    '/api/tunnel/machines/:machine/trust',
    { onRequest: ownerOnly },
    async (request) => {
      const machine = await app.machines.trust(request.user.sub, request.params.machine)
      const { user, id: correlationId } = request
      const details = { hostKeys: machine.hostKeys.map(({ fingerprint }) => fingerprint).join(' ') }
      app.audit.record({
        event: 'machine.trusted',
        userId: user.sub,
        machine: machine.name,
        correlationId,
        details,
      })
      return machine
    },
  )

  app.get('/api/tunnel/ssh/key', async (request) => ({ publicKey: app.ssh.publicKey(request.user.sub) }))
}

export default fp(apiPlugin, {
  name: 'tunnel-api',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['tunnel-audit', 'tunnel-auth', 'tunnel-ratelimit', 'tunnel-machines', 'tunnel-ssh'],
})
