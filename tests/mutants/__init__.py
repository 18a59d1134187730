"""Planted wrong answers to the exercises of the course: each must be refused."""
