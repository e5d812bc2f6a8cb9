"""The bus on RabbitMQ: publisher confirms, quorum queues, and connections that are rebuilt whenever anything about them is in doubt."""

from penstock.transport.buses.rabbitmq.bus import RabbitBus

__all__ = ["RabbitBus"]
